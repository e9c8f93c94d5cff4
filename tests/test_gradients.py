"Gradients against finite differences in float64, from one formula up to a whole render."
import pytest, torch
from torch import nn
from torch.autograd import gradcheck
from featurenerf.cameras import Rays, pixel_rays, sphere_cameras
from featurenerf.encoders import PositionalEncoding, pixel_align
from featurenerf.fields import Cond, MLPTrunk, ResnetTrunk, image_features
from featurenerf.heads import ColorHead, CoordHead, DensityHead, FeatureHead, JointHead, PartHead
from featurenerf.losses import color_loss, coord_loss, distill_loss, total_loss
from featurenerf.matching import soft_argmax
from featurenerf.metrics import psnr, ssim
from featurenerf.model import Config, FeatureNeRF
from featurenerf.rendering import FieldOut, composite, render_rays, render_samples, render_weights


@pytest.fixture(autouse=True)
def seed(): torch.manual_seed(0)

def rand(*shape, grad=True): return torch.rand(*shape, dtype=torch.float64, requires_grad=grad)
def randn(*shape, grad=True): return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)
def check(f, *inputs): assert gradcheck(f, inputs, eps=1e-6, atol=1e-6, rtol=1e-5)

def double(module):
    "A module in float64 with every weight moved off zero: at zero ReLUs and zero-initialised layers have no slope."
    module.double()
    with torch.no_grad():
        for p in module.parameters(): p.add_(.1*torch.randn_like(p))
    return module

def check_module(module, *inputs, call=None):
    "With respect to inputs and weights."
    names, weights = zip(*module.named_parameters())
    def f(*x):
        args, w = x[:len(inputs)], dict(zip(names, x[len(inputs):]))
        return torch.func.functional_call(module, w, args) if call is None else call(w, *args)
    check(f, *inputs, *(w.detach().clone().requires_grad_() for w in weights))


def ends(*batch, S):
    t = torch.rand(*batch, S + 1, dtype=torch.float64).cumsum(-1)
    return t[..., :-1].clone().requires_grad_(), t[..., -1:].clone().requires_grad_()


def test_render_weights():
    t, far = ends(2, S=5)
    check(render_weights, 3*rand(2, 5).detach().requires_grad_(), t, far)
    check(render_weights, torch.full((2, 5), 40., dtype=torch.float64, requires_grad=True), t, far)   # opaque after the first


def test_density_zero_still_learns():
    "Where there is nothing the density has a slope: d w_i / d sigma_i is the interval's length times what light arrives."
    t, far = ends(1, S=4); sigma = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    g, = torch.autograd.grad(render_weights(sigma, t, far).sum(), sigma)
    assert torch.allclose(g, torch.cat([t.diff(), far - t[:, -1:]], -1))


def test_composite(): check(composite, rand(3, 4), randn(3, 4, 2))


def test_render_samples_of_two_passes():
    t, far = ends(2, S=6); order = torch.randperm(6)
    def f(s1, s2, c1, c2, t):
        r = render_samples([FieldOut(s1, dict(c=c1)), FieldOut(s2, dict(c=c2))], t[:, order], far.detach())
        return r.values['c'], r.depth, r.acc
    check(f, rand(2, 4), rand(2, 2), randn(2, 4, 3), randn(2, 2, 3), t)


@pytest.mark.parametrize('center', [.5, 0.])
def test_pixel_align(center):
    h, w = 4, 5; cell = torch.rand(2, 7, 2, dtype=torch.float64)*.6 + .2                  # inside a cell: on its border the slope jumps
    i = torch.stack([torch.randint(0, w - 1, (2, 7)), torch.randint(0, h - 1, (2, 7))], -1)
    uv = ((i + cell + center)/torch.tensor([w, h], dtype=torch.float64)).requires_grad_()
    check(lambda m, u: pixel_align(m, u, center), randn(2, 3, h, w), uv)


def test_pixel_align_outside_is_flat():
    maps, uv = randn(1, 2, 3, 3), torch.tensor([[[-.5, .5], [1.7, .5]]], dtype=torch.float64, requires_grad=True)
    g, = torch.autograd.grad(pixel_align(maps, uv).sum(), uv)
    assert (g[..., 0] == 0).all() and (g[..., 1] != 0).all()


def test_positional_encoding(): check(PositionalEncoding(4).double(), randn(3, 3))


def test_projection_into_views():
    cams = sphere_cameras(torch.tensor([[10., 80.]]), torch.tensor([[20., 40.]]), size=(8, 8)).to(torch.float64)
    x = (torch.rand(1, 4, 3, dtype=torch.float64)*.5 - .25).requires_grad_()
    check(lambda x, m: image_features(x, Cond(m, cams)), x, randn(1, 2, 3, 4, 4))


def test_trunks():
    point, maps = randn(1, 2, 3, 5), randn(2, 4, 1, 3)
    for trunk in (double(MLPTrunk(5, 4, hidden=6, depth=3)), double(ResnetTrunk(5, 4, hidden=6, depth=3, combine=2)), double(ResnetTrunk(5, 4, hidden=6, depth=2, combine=2))):
        def whole(w, p, m):
            with torch.nn.utils.stateless._reparametrize_module(trunk, w): return trunk(p, trunk.project(m).flatten(2).mT[None])
        check_module(trunk, point, maps, call=whole)


@pytest.mark.parametrize('head, inputs', [(lambda: CoordHead(6), 1), (lambda: PartHead(6, 4), 1), (lambda: FeatureHead(6, 5), 2), (lambda: FeatureHead(6, 5, directed=False), 2)],
                         ids=['coord', 'part', 'feature', 'feature without d'])
def test_linear_heads(head, inputs): check_module(double(head()), *(randn(2, 3, 6), randn(2, 1, 3))[:inputs])


class Float64(nn.Module):
    "DensityHead, ColorHead and JointHead end in float32 on purpose; here float() keeps float64, so that finite differences can be seen."
    def __init__(self, head): super().__init__(); self.head = head
    def forward(self, *x):
        real = torch.Tensor.float
        torch.Tensor.float = lambda t: t if t.dtype == torch.float64 else real(t)
        try: out = self.head(*x)
        finally: torch.Tensor.float = real
        return (out[0], *out[1].values()) if isinstance(out, tuple) else out

@pytest.mark.parametrize('head, inputs', [(lambda: DensityHead(6), 1), (lambda: ColorHead(6), 2), (lambda: JointHead(6, 3), 1)], ids=['density', 'color', 'joint'])
def test_heads_that_end_in_float32(head, inputs):
    x = (randn(2, 3, 6), randn(2, 1, 3))[:inputs]
    check_module(Float64(double(head())), *x)


def test_composited_feature_is_the_composite_of_features():
    "Same value and same gradients with respect to everything, at one evaluation a ray."
    head, v, d, w = double(FeatureHead(6, 5)), randn(2, 4, 6), randn(2, 3), rand(2, 4)
    one = lambda v, d, w: head.composited(composite(w, v), d, w.sum(-1))
    each = lambda v, d, w: composite(w, head(v, d[:, None]))
    a, b = one(v, d, w), each(v, d, w); to = randn(2, 5, grad=False)
    assert torch.allclose(a, b, atol=1e-12)
    inputs = (v, d, w, *head.parameters())
    for x, y in zip(*(torch.autograd.grad((out*to).sum(), inputs) for out in (a, b))): assert torch.allclose(x, y, atol=1e-12)
    check(one, v, d, w)


def test_losses():
    pred, true = randn(3, 4, 3), randn(3, 4, 3); hit = torch.tensor([True, False, True])
    for reduction in ('mean', 'sum'):
        check(lambda p, t: color_loss(p, t, reduction), pred, true); check(lambda p, t: distill_loss(p, t, reduction), pred, true)
        for per in ('sample', 'ray'):
            for h in (None, hit, hit & False): check(lambda p, x: coord_loss(p, x, h, reduction, per), pred, true)
    check(lambda a, b, c: total_loss(dict(rec=a.sum(), distill_coarse=b.sum(), coord=c.sum()), .3, .7), randn(2), randn(2), randn(2))


def test_images():
    x, y = (.1 + .8*torch.rand(2, 1, 2, 11, 12, dtype=torch.float64)).unbind(0)
    check(lambda a: psnr(a, y), x.clone().requires_grad_()); check(lambda a: ssim(a, y), x.clone().requires_grad_())


def scene():
    "A soft ball whose place, size and colour are weights, and four rays that meet it."
    o = torch.tensor([[0, 0, 2.], [2, .1, 0], [0, 2, .2], [-1.2, 0, 1.6]], dtype=torch.float64)
    d = nn.functional.normalize(.15*torch.tensor([[1., 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], dtype=torch.float64) - o, dim=-1)
    weights = [torch.tensor([.05, -.1, .02], dtype=torch.float64), torch.tensor(2., dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)]
    return Rays(o, d), [w.requires_grad_() for w in weights]

def ball(center, sharp, A): # no corner anywhere
    return lambda x, d: FieldOut(6*torch.exp(-sharp*(x - center).square().sum(-1)), dict(rgb=torch.sigmoid(x @ A + d)))


@pytest.mark.parametrize('kw', [dict(n_importance=0, n_depth=0), dict(n_importance=0, n_depth=4, detach=False), dict(n_importance=0, n_depth=4, detach=False, reuse=False)],
                         ids=['coarse', 'through the depth', 'through the depth, all again'])
def test_a_whole_render(kw):
    "Places of samples that depend on the densities are differentiated too, where they are asked to be."
    rays, weights = scene()
    def f(*w):
        r = render_rays(ball(*w), rays, None, n_coarse=6, depth_sigma=.05, near=.8, far=3.2, keep_coarse=True, **kw)
        return r.values['rgb'], r.depth, r.acc
    check(f, *weights)


@pytest.mark.parametrize('reuse', [True, False])
def test_detached_places_are_constants(reuse):
    "detach=True: the gradient is that of the same samples held fast, to the last digit of finite differences."
    rays, weights = scene()
    kw = dict(n_coarse=6, n_importance=3, n_depth=3, depth_sigma=.05, near=.8, far=3.2)
    r = render_rays(ball(*weights), rays, None, reuse=reuse, **kw)
    def held(*w):
        out = ball(*w)(rays.at(r.t.detach()), rays.directions[:, None])
        s = render_samples([out, FieldOut(out.sigma[:, :0], {k: v[:, :0] for k, v in out.values.items()})], r.t.detach(), torch.full((4, 1), 3.2, dtype=torch.float64))
        return s.values['rgb'], s.depth
    check(held, *weights)
    for a, b in zip(held(*weights), (r.values['rgb'], r.depth)):
        to = torch.randn_like(a)
        for x, y in zip(*(torch.autograd.grad((v*to).sum(), weights, retain_graph=True, allow_unused=True) for v in (a, b))):
            assert (x is None and y is None) or torch.allclose(x, y, atol=1e-10)


@pytest.mark.parametrize('variant', ['paper', 'official'])
def test_the_network_that_is_trained(variant):
    "Encoder, field and renderer in one: the slope along a random direction of all weights."
    cfg = Config.variant(variant, encoder='small', encoder_weights='scratch', hidden=8, depth=2, feature_dim=3, n_coarse=5, n_importance=0, n_depth=0, bounds=(1.5, 2.5), eval_jitter=False)
    model = double(FeatureNeRF(cfg)).eval()
    cams = sphere_cameras(torch.tensor([[20.]]), torch.tensor([[20.]]), size=(16, 16)).to(torch.float64)
    images, rays = torch.rand(1, 1, 3, 16, 16, dtype=torch.float64), pixel_rays(sphere_cameras(60., 10., size=(4, 4)).to(torch.float64)).reshape(1, -1)
    real = torch.Tensor.float
    torch.Tensor.float = lambda t: t if t.dtype == torch.float64 else real(t)
    try:
        def loss():
            r = model.render(rays, model.encode(images, cams))
            return r.values['rgb'].square().mean() + r.values['feature'].square().mean() + r.depth.mean()
        grads = torch.autograd.grad(loss(), list(model.parameters()), allow_unused=True)
        step = [torch.randn_like(p)*p.abs().mean() for p in model.parameters()]
        slope, h = sum((g*s).sum().item() for g, s in zip(grads, step) if g is not None), 1e-6
        with torch.no_grad():
            def at(k):
                for p, s in zip(model.parameters(), step): p.add_(k*s)
                try: return loss().item()
                finally:
                    for p, s in zip(model.parameters(), step): p.sub_(k*s)
            found = (at(h) - at(-h))/(2*h)
    finally: torch.Tensor.float = real
    assert abs(found - slope) < 1e-5*max(1, abs(slope)) and abs(slope) > 1e-3, (found, slope)
    assert sum(g is None for g in grads) <= (2 if variant == 'paper' else 0)             # only the coordinate head has no say here
