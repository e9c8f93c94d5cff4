"""What must hold for every camera, every sampling and every density: energy, permutation, rigid motion, scale.

Everything is computed in float64, so that a tolerance speaks of rounding and of nothing else."""
import math
from dataclasses import replace
import numpy as np, pytest, torch
hypothesis = pytest.importorskip('hypothesis')
from hypothesis import assume, given, strategies as st
from featurenerf.cameras import Cameras, Rays, look_at, pixel_rays, project, to_opencv, to_opengl, to_pytorch3d
from featurenerf.matching import nearest_match, soft_argmax, transfer_keypoints, transfer_labels, unit_features, window_soft_argmax
from featurenerf.metrics import (bootstrap_ci, keypoint_accuracy, mean_pck, paired_bootstrap, part_iou, pck, per_point, psnr, shape_iou, shared_labels, ssim)
from featurenerf.photos import from_pytorch3d
from featurenerf.rendering import FieldOut, composite, render_rays, render_samples, render_weights
from featurenerf.sampling import around_depth, box_interval, importance, stratified

F64 = dict(dtype=torch.float64)
seeds, scales = st.integers(0, 2**31 - 1), st.floats(-6, 6).map(lambda e: 10.**e)

def rng(seed): return torch.Generator().manual_seed(seed)
def close(a, b, tol=1e-9):
    "Equal up to rounding, relative to the largest entry of b (at least 1)."
    error = (a - b).abs().max().item() if a.numel() else 0.
    assert a.shape == b.shape and error <= tol*max(1., b.abs().max().item() if b.numel() else 0.), error

def rotations(n, g):
    "n random rotations (n, 3, 3)."
    Q = torch.linalg.qr(torch.randn(n, 3, 3, generator=g, **F64))[0]
    return Q*torch.linalg.det(Q)[:, None, None]

def pose(R, p):
    "(*batch, 4, 4) from rotation and position."
    return torch.cat([torch.cat([R, p[..., None]], -1), R.new_tensor([0, 0, 0, 1]).expand(*R.shape[:-2], 1, 4)], -2)

def some_cameras(g, n=3):
    "n cameras anywhere, turned anyhow, with different focal lengths in x and y and a principal point off the middle."
    H, W = torch.randint(2, 300, (2,), generator=g).tolist()
    focal = (W + H)*(.2 + torch.rand(n, 2, generator=g, **F64))
    center = torch.rand(n, 2, generator=g, **F64)*torch.tensor([W, H])
    return Cameras(pose(rotations(n, g), 2*torch.randn(n, 3, generator=g, **F64)), focal, center, (H, W))

def some_pixels(c, g, n=5): return torch.rand(len(c), n, 2, generator=g, **F64)*torch.tensor([c.size[1], c.size[0]])


# ---- cameras

@given(seeds, scales)
def test_project_undoes_pixel_rays(seed, depth):
    g = rng(seed); c = some_cameras(g); uv = some_pixels(c, g)
    assume(depth > 1e-4)
    rays = pixel_rays(c, uv)
    got, z = project(c, rays.at(torch.full((*rays.shape, 1), depth, **F64))[..., 0, :])
    close(got, uv, 1e-7); assert (z > 0).all() and (z <= depth*(1 + 1e-9)).all()
    close(rays.directions.norm(dim=-1), torch.ones(rays.shape, **F64))


@given(seeds)
def test_all_pixels_are_the_pixels_one_by_one(seed):
    g = rng(seed); c = some_cameras(g); c = replace(c, size=(c.size[0] % 7 + 1, c.size[1] % 9 + 1)); H, W = c.size
    whole = pixel_rays(c)
    v, u = (int(torch.randint(n, (), generator=g)) for n in (H, W))
    close(whole.directions[:, v, u], pixel_rays(c, torch.tensor([[u + .5, v + .5]], **F64)).directions[:, 0])


@given(seeds)
def test_conversions_and_back(seed):
    g = rng(seed); c = some_cameras(g); M = c.cam2world
    assert torch.equal(to_opengl(to_opencv(M)), M) and torch.equal(to_opencv(to_opengl(M)), M)
    R, T, focal, center = to_pytorch3d(c)
    back = from_pytorch3d(R, T, focal, center, c.size)
    close(back.cam2world, M); close(back.focal, c.focal); close(back.center, c.center)
    x = pixel_rays(c, some_pixels(c, g)).at(torch.full((3, 5, 1), 2., **F64))[..., 0, :]
    cv = torch.linalg.inv(to_opencv(M))                                            # OpenCV's own formula: K (R x + t)
    p = x @ cv[:, :3, :3].mT + cv[:, None, :3, 3]
    close(p[..., :2]/p[..., 2:]*c.focal[:, None] + c.center[:, None], project(c, x)[0], 1e-8)
    p = x @ R + T[:, None]; s = 2/min(c.size)                                      # PyTorch3D's: row vectors, NDC grows to the left and up
    ndc = p[..., :2]/p[..., 2:]*focal[:, None] + center[:, None]
    close(torch.tensor([c.size[1]/2, c.size[0]/2], **F64) - ndc/s, project(c, x)[0], 1e-8)


@given(seeds)
def test_pixels_do_not_notice_a_rigid_motion(seed):
    g = rng(seed); c = some_cameras(g); uv = some_pixels(c, g)
    Q, t = rotations(1, g)[0], torch.randn(3, generator=g, **F64)
    moved = Cameras(pose(Q, t) @ c.cam2world, c.focal, c.center, c.size)
    x = pixel_rays(c, uv).at(1 + torch.rand(3, 5, 1, generator=g, **F64))[..., 0, :]
    (a, za), (b, zb) = project(c, x), project(moved, x @ Q.T + t)
    close(b, a, 1e-8); close(zb, za)
    close(pixel_rays(moved, uv).directions, pixel_rays(c, uv).directions @ Q.T)


@given(seeds, scales)
def test_pixels_do_not_notice_the_size_of_the_world(seed, s):
    g = rng(seed); c = some_cameras(g); assume(s > 1e-4)                            # project keeps away from z < 1e-6
    bigger = Cameras(pose(c.cam2world[:, :3, :3], s*c.position), c.focal, c.center, c.size)
    x = pixel_rays(c, some_pixels(c, g)).at(1 + torch.rand(3, 5, 1, generator=g, **F64))[..., 0, :]
    (a, za), (b, zb) = project(c, x), project(bigger, s*x)
    close(b, a, 1e-8); close(zb/s, za)


@given(seeds, st.integers(1, 400), st.integers(1, 400))
def test_resize_and_crop(seed, H, W):
    g = rng(seed); c = some_cameras(g); uv = some_pixels(c, g)
    small, ratio = c.resize(H, W), torch.tensor([W/c.size[1], H/c.size[0]], **F64)
    d = pixel_rays(c, uv).directions
    close(pixel_rays(small, uv*ratio).directions, d)                              # the same picture, other pixels
    back = small.resize(*c.size); close(back.focal, c.focal); close(back.center, c.center); assert back.size == c.size
    corner = torch.rand(2, generator=g, **F64)*30
    cropped = Cameras(c.cam2world, c.focal, c.center - corner, (H, W))
    close(pixel_rays(cropped, uv - corner).directions, d)                         # a window of the picture
    one = pixel_rays(cropped.resize(2*H, 2*W), 2*(uv - corner)).directions; close(one, d)


@given(seeds)
def test_look_at_looks_at(seed):
    g = rng(seed); eye, target = torch.randn(2, 4, 3, generator=g)
    assume((eye - target).norm(dim=-1).min() > .1)
    up = torch.randn(3, generator=g); assume(torch.cross(torch.nn.functional.normalize(eye - target, dim=-1), up.expand(4, 3), dim=-1).norm(dim=-1).min() > .05)
    M = look_at(eye, target, up); R = M[:, :3, :3]
    close(R.mT @ R, torch.eye(3).expand(4, 3, 3), 1e-5); close(torch.linalg.det(R), torch.ones(4), 1e-5)
    c = Cameras(M, 50., None, (40, 60))
    uv, z = project(c, target[:, None])
    close(uv[:, 0], torch.tensor([30., 20.]).expand(4, 2), 1e-3); close(z[:, 0], (eye - target).norm(dim=-1), 1e-4)
    above, _ = project(c, (target + .01*torch.nn.functional.normalize(up, dim=0))[:, None])
    assert ((above - uv)[:, 0, 1] < 0).all() and ((above - uv)[:, 0, 0].abs() < 1e-2).all()


# ---- sampling

ends = st.tuples(st.floats(0, 100), st.floats(0, 100)).map(lambda x: (x[0], x[0] + x[1]))

@given(seeds, ends, st.integers(1, 130), st.booleans(), st.sampled_from([torch.float32, torch.float64]))
def test_stratified_one_a_bin(seed, e, n, jitter, dtype):
    near, far = (torch.full((4, 1), x, dtype=dtype) for x in e)
    t = stratified(near, far, n, jitter, rng(seed))
    assert t.shape == (4, n) and t.dtype == dtype and (t >= near).all() and (t <= far).all() and (t.diff() >= 0).all()
    if e[1] - e[0] < 1e-3 or dtype == torch.float32: return
    assert (t.diff() > 0).all()
    bin = ((t - near)/(far - near)*n).floor().long().clamp(0, n - 1)
    assert torch.equal(bin, torch.arange(n).expand(4, n))


@given(seeds, st.integers(1, 40), scales, st.sampled_from(['random', 'one', 'nothing', 'gap']))
def test_importance_follows_the_weights(seed, S, s, kind):
    g, n = rng(seed), 20_000
    t = torch.rand(2, S + 1, generator=g, **F64).sort(-1).values; t, far = t[:, :-1], t[:, -1:]
    assume(torch.cat([t, far], -1).diff().min() > 1e-6)
    w = torch.rand(2, S, generator=g, **F64)
    if kind == 'one': w = torch.nn.functional.one_hot(torch.randint(S, (2,), generator=g), S).double()
    if kind == 'nothing': w = 0*w
    if kind == 'gap': w[:, ::2] = 0
    x = importance(t, w, far, n, False)
    assert (x >= t[:, :1] - 1e-12).all() and (x <= far + 1e-12).all() and (x.diff() >= -1e-12).all()
    width = torch.cat([t[:, 1:], far], -1) - t
    want = torch.where(w.sum(-1, True) > 0, w, width); want = want/want.sum(-1, True)   # no weight at all: evenly
    edges = torch.cat([t, far], -1)
    for i in range(2):
        share = torch.tensor(np.histogram(x[i].numpy(), edges[i].numpy())[0]/n)
        assert (share - want[i]).abs().max() <= 2/n + 1e-9                             # quantiles: at most one sample an edge
    close(importance(t, w*s, far, 50, False), importance(t, w, far, 50, False))
    jittered = importance(t, w, far, n, True, g)
    assert abs(jittered.mean(-1) - x.mean(-1)).max() < 1/n + 1e-9 + (far - t[:, :1]).max()/n and (jittered >= t[:, :1] - 1e-12).all() and (jittered <= far + 1e-12).all()


@given(seeds, ends, st.floats(-50, 250), scales, st.integers(1, 64), st.booleans())
def test_around_depth_stays_inside(seed, e, depth, sigma, n, jitter):
    near, far = (torch.full((3, 1), x, **F64) for x in e); d = torch.full((3,), depth, **F64)
    t = around_depth(d, near, far, n, sigma, jitter, rng(seed))
    assert t.shape == (3, n) and (t >= near).all() and (t <= far).all() and (t.diff() >= 0).all()
    if not jitter and e[0] + 6*sigma < depth < e[1] - 6*sigma: close(t.mean(-1), d, 1e-7)


def some_box(g):
    lo = torch.randn(3, generator=g, **F64)
    return torch.stack([lo, lo + .2 + 2*torch.rand(3, generator=g, **F64)])

def some_rays(g, box, n=40):
    "Rays from inside and outside, towards the box and away from it, some along an axis."
    o = box.mean(0) + 3*torch.randn(n, 3, generator=g, **F64)
    d = torch.where(torch.rand(n, 1, generator=g) < .6, box[0] + (box[1] - box[0])*torch.rand(n, 3, generator=g, **F64) - o, torch.randn(n, 3, generator=g, **F64))
    d[:4] = torch.eye(3, **F64)[torch.randint(3, (4,), generator=g)]*torch.tensor([[1.], [-1], [1], [-1]])
    o[2:8] = box[0] + (box[1] - box[0])*torch.rand(6, 3, generator=g, **F64)
    return Rays(o, torch.nn.functional.normalize(d, dim=-1))


@given(seeds)
def test_box_interval(seed):
    g = rng(seed); box = some_box(g); rays = some_rays(g, box)
    near, far, hit = box_interval(rays, box)
    assert (near >= 0).all() and (far >= near).all() and torch.equal(hit, (far > near)[:, 0])
    def outside(x): return torch.maximum(box[0] - x, x - box[1]).amax(-1)             # > 0 outside, 0 on a wall
    at = outside(rays.at(torch.cat([near, far], -1)))
    entered = near[:, 0] > 0                                                        # else the ray starts inside
    assert (at[hit & entered, 0].abs() < 1e-6).all() and (at[hit, 1].abs() < 1e-6).all() and (outside(rays.origins[hit & ~entered]) < 1e-9).all()
    t = torch.linspace(0, 30, 6001, **F64); inside = (outside(rays.at(t.expand(40, -1))) < 0)   # brute force
    assert hit[inside.any(-1)].all()
    assert inside.any(-1)[hit & (far - near > .02)[:, 0]].all()
    assert ((inside.sum(-1)*.005)[hit] - (far - near)[hit, 0]).abs().max() < .011


@given(seeds, scales)
def test_box_interval_moves_with_the_box(seed, s):
    g = rng(seed); box = some_box(g); rays = some_rays(g, box); shift = torch.randn(3, generator=g, **F64)
    near, far, hit = box_interval(rays, box)
    for o, d, b, k in ((rays.origins + shift, rays.directions, box + shift, 1.), (rays.origins*s, rays.directions, box*s, s),
                       (rays.origins.flip(-1), rays.directions.flip(-1), box.flip(-1), 1.), (-rays.origins, -rays.directions, -box.flip(0), 1.)):
        n, f, h = box_interval(Rays(o, d), b)
        sure = ((far - near)[:, 0] > 1e-6) | ~hit                                    # a corner that is only touched may go either way
        assert torch.equal(h[sure], hit[sure]); close(n[sure]/k, near[sure], 1e-6); close(f[sure]/k, far[sure], 1e-6)


# ---- compositing

def some_samples(g, S, B=3):
    t = torch.rand(B, S + 1, generator=g, **F64).cumsum(-1) + .1
    return t[:, :-1], t[:, -1:]

densities = st.sampled_from(['ordinary', 'none', 'thin', 'huge', 'mixed'])
def some_density(g, shape, kind):
    x = torch.rand(shape, generator=g, **F64)
    e = torch.randint(-300, 300, shape, generator=g).double()
    return dict(ordinary=3*x, none=0*x, thin=1e-300*x, huge=1e300*x, mixed=x*10.**e)[kind]


@given(seeds, st.integers(1, 60), densities, st.booleans())
def test_energy(seed, S, kind, doubled):
    g = rng(seed); t, far = some_samples(g, S); sigma = some_density(g, t.shape, kind)
    if doubled: t = t.repeat_interleave(2, -1)[:, :S]                                  # intervals of length 0
    w = render_weights(sigma, t, far)
    tau = sigma*torch.cat([t.diff(), far - t[:, -1:]], -1)
    assert (w >= 0).all() and (w <= 1).all()
    close(w.sum(-1) + torch.exp(-tau.sum(-1)), torch.ones(len(t), **F64), 1e-13*S)


@given(seeds, st.integers(2, 40), st.integers(1, 4))
def test_order_of_the_samples_does_not_matter(seed, S, n_parts):
    g = rng(seed); t, far = some_samples(g, S); sigma, c = some_density(g, t.shape, 'ordinary'), torch.randn(*t.shape, 4, generator=g, **F64)
    assume(t.diff().min() > 0)                                                      # two samples at one place have no order
    whole = render_samples([FieldOut(sigma, dict(c=c))], t, far)
    order = torch.rand(t.shape, generator=g).argsort(-1)
    cut = sorted(torch.randint(1, S, (min(n_parts, S) - 1,), generator=g).unique().tolist())
    take = lambda x: x.gather(1, order.reshape(*order.shape, *[1]*(x.ndim - 2)).expand_as(x)).tensor_split(cut, 1)
    parts = [FieldOut(s, dict(c=v)) for s, v in zip(take(sigma), take(c))]
    if len(parts) == 1: parts.append(FieldOut(sigma[:, :0], dict(c=c[:, :0])))            # one pass alone has to be in order
    got = render_samples(parts, torch.cat(take(t), 1), far)
    close(got.values['c'], whole.values['c']); close(got.depth, whole.depth); close(got.acc, whole.acc)
    close(got.weights, whole.weights.gather(1, order))


@given(seeds, st.integers(1, 20), densities)
def test_cutting_an_interval_changes_nothing(seed, S, kind):
    g = rng(seed); t, far = some_samples(g, S); sigma, c = some_density(g, t.shape, kind), torch.randn(*t.shape, 2, generator=g, **F64)
    end = torch.cat([t[:, 1:], far], -1); middle = t + (end - t)*torch.rand(t.shape, generator=g, **F64)
    both = torch.stack([t, middle], -1).flatten(1)
    w, w2 = render_weights(sigma, t, far), render_weights(sigma.repeat_interleave(2, 1), both, far)
    close(w2.unflatten(1, (S, 2)).sum(-1), w, 1e-11); close(composite(w2, c.repeat_interleave(2, 1)), composite(w, c), 1e-10)


@given(seeds, st.integers(1, 30), scales)
def test_thicker_and_shorter_is_the_same(seed, S, s):
    g = rng(seed); t, far = some_samples(g, S); sigma = some_density(g, t.shape, 'ordinary')
    close(render_weights(sigma/s, t*s, far*s), render_weights(sigma, t, far))


@given(seeds, st.integers(1, 30), st.floats(-5, 5), st.floats(-5, 5))
def test_compositing_is_linear(seed, S, a, b):
    g = rng(seed); t, far = some_samples(g, S); w = render_weights(some_density(g, t.shape, 'ordinary'), t, far)
    x, y = torch.randn(2, *t.shape, 5, generator=g, **F64); A = torch.randn(5, 3, generator=g, **F64)
    close(composite(w, a*x + b*y), a*composite(w, x) + b*composite(w, y)); close(composite(w, x @ A), composite(w, x) @ A)
    close(composite(w, torch.ones(*t.shape, 1, **F64))[..., 0], w.sum(-1))
    assert (composite(w, x) <= x.amax(1).clamp(min=0) + 1e-12).all()                  # a mean of the samples and of black


def blob(x, d):
    "A soft coloured ball that shines differently to all sides."
    sigma = 6*torch.exp(-4*(x - x.new_tensor([.1, -.2, .05])).square().sum(-1)) + .01
    return FieldOut(sigma, dict(rgb=torch.sigmoid(x*2 + d), where=x))

def rays_to_the_middle(g, n=6):
    o = 2*torch.nn.functional.normalize(torch.randn(n, 3, generator=g, **F64), dim=-1)
    return Rays(o, torch.nn.functional.normalize(.3*torch.randn(n, 3, generator=g, **F64) - o, dim=-1))


@given(seeds, scales, st.booleans())
def test_rendering_moves_with_the_world(seed, s, reuse):
    "A field and rays turned, shifted and enlarged together give the same pixels; the depth grows with the world."
    g = rng(seed); rays = rays_to_the_middle(g); Q, p = rotations(1, g)[0], torch.randn(3, generator=g, **F64)
    assume(s > 1e-5)
    def moved(x, d):
        out = blob(((x - p)/s) @ Q, d @ Q)
        return FieldOut(out.sigma/s, out.values)
    kw = dict(n_coarse=12, n_importance=5, n_depth=5, reuse=reuse)
    a = render_rays(blob, rays, None, near=.8, far=3.2, depth_sigma=.01, **kw)
    b = render_rays(moved, Rays(s*rays.origins @ Q.T + p, rays.directions @ Q.T), None, near=.8*s, far=3.2*s, depth_sigma=.01*s, **kw)
    tol = 1e-8*max(1, 1/s)                                                           # (x - p) forgets the digits of a small world
    close(b.acc, a.acc, tol); close(b.depth/s, a.depth, tol); close(b.values['rgb'], a.values['rgb'], tol); close(b.values['where'], a.values['where'], tol)


@given(seeds)
def test_box_or_its_interval(seed):
    "A box is the same as the near and far it gives."
    g = rng(seed); rays = rays_to_the_middle(g); box = torch.tensor([[-.5]*3, [.5]*3], **F64)
    near, far, hit = box_interval(rays, box)
    a, b = render_rays(blob, rays, box, 16, 4, 4), render_rays(blob, rays, None, 16, 4, 4, near=near, far=far)
    close(a.values['rgb'], b.values['rgb'], 1e-12); assert (a.acc[~hit] == 0).all() and (a.acc[hit] > 0).all()


@given(seeds, st.integers(2, 6))
def test_rays_do_not_see_each_other(seed, n):
    "Rendering rays together or one by one is the same, with the same samples."
    rays = rays_to_the_middle(rng(seed), n)
    whole = render_rays(blob, rays, None, 8, 4, 4, near=.8, far=3.2)
    for i in range(n):
        one = render_rays(blob, rays[i:i + 1], None, 8, 4, 4, near=.8, far=3.2)
        close(one.values['rgb'][0], whole.values['rgb'][i]); close(one.t[0], whole.t[i])


# ---- matching

@given(seeds, st.integers(1, 30), st.integers(1, 40), st.integers(1, 6))
def test_matching_knows_no_order_and_no_length(seed, N, M, D):
    g = rng(seed); q, k = torch.randn(N, D, generator=g), torch.randn(M, D, generator=g)
    index, cos = nearest_match(q, k); order = torch.randperm(M, generator=g)
    again, cos2 = nearest_match(q, k[order]); close(cos2, cos, 1e-5)
    longer, _ = nearest_match(q*(.1 + 9*torch.rand(N, 1, generator=g)), k*(.1 + 9*torch.rand(M, 1, generator=g)))
    blocks, cos3 = nearest_match(q, k, block=3); close(cos3, cos, 1e-6)
    cosines = unit_features(q) @ unit_features(k).T
    best = cosines.topk(min(2, M), -1).values; sure = best[:, 0] - best[:, -1] > 1e-5 if M > 1 else torch.ones(N, dtype=torch.bool)
    assert torch.equal(order[again][sure], index[sure]) and torch.equal(longer[sure], index[sure]) and torch.equal(blocks[sure], index[sure])
    assert (cos.abs() <= 1 + 1e-5).all()
    labels, places = torch.randint(1, 5, (M,), generator=g), torch.randn(M, 3, generator=g)
    assert torch.equal(transfer_labels(k[order], labels[order], q)[sure], labels[index][sure])
    assert torch.equal(transfer_keypoints(q, k[order], places[order])[sure], places[index][sure])
    own, one = nearest_match(k, k); close(one, torch.ones(M), 1e-5)                        # everybody is most like himself
    assert D == 1 or (own == torch.arange(M)).float().mean() == 1 or (cosines.numel() and (unit_features(k) @ unit_features(k).T - torch.eye(M)).max() > 1 - 1e-5)


@given(seeds, st.integers(1, 30), st.floats(.01, 2), st.floats(0, 3))
def test_soft_argmax_stays_among_the_candidates(seed, M, temperature, radius):
    g = rng(seed); q, k, places = torch.randn(5, 4, generator=g), torch.randn(M, 4, generator=g), torch.randn(M, 2, generator=g); order = torch.randperm(M, generator=g)
    for f, args in ((soft_argmax, ()), (window_soft_argmax, (radius,))):
        x = f(q, k, places, *args, temperature=temperature)
        assert (x >= places.amin(0) - 1e-5).all() and (x <= places.amax(0) + 1e-5).all()
        close(f(q, k[order], places[order], *args, temperature=temperature), x, 1e-4); close(f(q, k, places, *args, temperature=temperature, block=3), x, 1e-4)
        close(f(q, k, places + 7, *args, temperature=temperature), x + 7, 1e-4)
    hard = transfer_keypoints(q, k, places)
    close(window_soft_argmax(q, k, places, 0., temperature=temperature), hard, 1e-5)


# ---- metrics

@given(seeds, st.integers(1, 60), st.integers(1, 6))
def test_iou(seed, N, P):
    g = rng(seed); true, pred = torch.randint(0, P + 1, (2, N), generator=g); assume((true > 0).any())
    new, order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(P, generator=g)]), torch.randperm(N, generator=g)
    for f in (part_iou, lambda a, b: shape_iou(a, b, P)):
        x = f(pred, true)
        assert 0 <= x <= 1 and f(true, true) == 1
        assert abs(f(new[pred], new[true]) - x) < 1e-6 and abs(f(pred[order], true[order]) - x) < 1e-6     # names and order of pixels mean nothing
        if not torch.equal(pred[true > 0], true[true > 0]): assert x < 1
    assert set(shared_labels(pred, true).tolist()) == set(pred.tolist()) & set(true.tolist()) - {0}


@given(seeds, st.integers(1, 20), st.floats(.1, 500), scales)
def test_pck(seed, K, size, s):
    g = rng(seed); true = torch.rand(K, 2, generator=g, **F64)*size; pred = true + torch.randn(K, 2, generator=g, **F64)*size*.1
    alphas = (.01, .05, .1, .5, 20.); x = pck(pred, true, size, alphas)
    assert (x >= 0).all() and (x.diff() >= 0).all() and x[-1] == 1 and (pck(true, true, size, (0.,)) == 1).all()
    assert torch.equal(pck(pred*2, true*2, size*2, alphas), x)                          # pixels twice as small
    hits = pck(pred, true, size, alphas, mean=False)
    assert torch.equal(mean_pck([hits], 'image'), x) and torch.equal(mean_pck([hits], 'point'), hits.mean(0))
    t = keypoint_accuracy(pred, true, (size*.01, size*.1, size*20)); assert (t >= 0).all() and (t.diff() >= 0).all() and t[-1] == 1


@given(st.lists(st.tuples(st.integers(1, 20), st.floats(0, 1)), min_size=1, max_size=12))
def test_shares_of_pairs_have_the_pooled_mean(rows):
    counts, shares = np.array([c for c, _ in rows]), np.array([s for _, s in rows])
    assert abs(per_point(shares, counts).mean() - (shares*counts).sum()/counts.sum()) < 1e-9


@given(seeds, st.integers(11, 24), st.integers(11, 24), st.floats(1e-3, .5))
def test_psnr_and_ssim(seed, H, W, delta):
    g = rng(seed); x, y = torch.rand(2, 2, 3, H, W, generator=g, **F64)
    close(psnr(x, y), psnr(y, x), 1e-12); close(psnr(x + delta, x), torch.full((2,), -20*math.log10(delta), **F64), 1e-6); assert (psnr(x, x) == torch.inf).all()
    close(ssim(x, x), torch.ones(2, **F64), 1e-9); close(ssim(x, y), ssim(y, x), 1e-12); assert (ssim(x, y).abs() <= 1).all()
    for f in (psnr, ssim):
        close(f(x.flip(-1), y.flip(-1)), f(x, y), 1e-9); close(f(x[:, [2, 0, 1]], y[:, [2, 0, 1]]), f(x, y), 1e-9)   # mirror, other channels
        close(f(x[1], y[1]), f(x, y)[1], 1e-12)
    assert (psnr(x, x + .5*(y - x)) > psnr(x, y)).all()


@given(seeds, st.integers(2, 30), st.floats(-100, 100))
def test_bootstrap(seed, N, shift):
    a, b = np.random.default_rng(seed).normal(size=(2, N))
    (m, lo, hi), (m2, lo2, hi2) = paired_bootstrap(a, b, 200), paired_bootstrap(b, a, 200)
    assert lo <= hi and abs(m + m2) < 1e-9 and abs(lo + hi2) < 1e-6 and abs(hi + lo2) < 1e-6        # the same, looked at from the other side
    x, y = bootstrap_ci(a, 200), bootstrap_ci(a + shift, 200)
    assert np.abs(np.array(y) - x - shift).max() < 1e-4*max(1, abs(shift)) and a.min() - 1e-6 <= x[1] <= x[2] <= a.max() + 1e-6
