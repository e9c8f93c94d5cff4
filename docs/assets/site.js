// Draw the notebooks' plotly figures; the library, 5 MB, is loaded only by pages that have one.
const figures = document.querySelectorAll('.plotly-figure')
if (figures.length) {
  const script = document.createElement('script')
  script.src = new URL('plotly.min.js', document.currentScript.src)
  script.onload = () => figures.forEach(div => {
    const {data, layout} = JSON.parse(div.querySelector('script').textContent)
    Plotly.newPlot(div, data, {...layout, width: undefined, autosize: true}, {responsive: true, displaylogo: false})
  })
  document.head.append(script)
}
