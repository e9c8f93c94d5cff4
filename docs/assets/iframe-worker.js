// A page opened from the disk may not start a worker, which the search is: it runs in a hidden frame instead.
if (location.protocol === 'file:') window.Worker = class extends EventTarget {
  constructor(url) {
    super()
    const frame = document.body.appendChild(Object.assign(document.createElement('iframe'), {hidden: true, srcdoc: '<!doctype html>'}))
    this.ready = new Promise(done => frame.onload = () => {
      this.inside = frame.contentWindow
      this.inside.postMessage = data => this.answer(data)
      const script = this.inside.document.createElement('script')
      script.onload = done
      script.src = new URL(url, document.baseURI)
      this.inside.document.body.append(script)
    })
  }
  answer(data) { this.dispatchEvent(new MessageEvent('message', {data})) }
  postMessage(data) { this.ready.then(() => this.inside.dispatchEvent(new MessageEvent('message', {data}))) }
}
