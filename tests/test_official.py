"""Parity with the authors' code: recorded inputs and outputs of their network and renderer, on their checkpoints.

Every folder of FEATURENERF_SHARED/official with a `pixel_nerf_latest` and an `io.safetensors` is a case; sizes, number of
views, width and channels are read from the files."""
import os
from pathlib import Path
import pytest, torch
from safetensors.torch import load_file
from featurenerf.cameras import Cameras, Rays
from featurenerf.model import FeatureNeRF
from featurenerf.rendering import composite, render_samples

SHARED = os.environ.get('FEATURENERF_SHARED')
FOLDERS = sorted(p.parent for p in Path(SHARED or '.').glob('official/*/io.safetensors')) if SHARED else []
pytestmark = [pytest.mark.data, pytest.mark.skipif(not FOLDERS, reason='FEATURENERF_SHARED is not set or has no official/')]


def close(ours, theirs):
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert ours.shape == theirs.shape and error < 1e-4, f'relative error {error:.1e}'


@pytest.fixture(scope='module', params=FOLDERS or [None], ids=lambda p: p.name if p else 'none')
def case(request):
    io = load_file(request.param/'io.safetensors')
    B, V, _, H, W = io['images'].shape
    near, far = io['rays'][0, 0, 6:].tolist()
    model = FeatureNeRF.from_official(request.param/'pixel_nerf_latest', bounds=(near, far))
    cameras = lambda poses: Cameras(poses, io['focal'].view(B, *[1]*(poses.ndim - 3), 1).expand(*poses.shape[:-2], 2), None, (H, W))
    with torch.no_grad(): cond = model.encode(io['images']/2 + .5, cameras(io['poses']))
    return io, model, cond, cameras


def ask(model, cond, rays, z, fine):
    "Our field at the recorded distances, as one FieldOut of shape (B, R, S)."
    x, d = rays.at(z), rays.directions[..., None, :].expand(-1, -1, z.shape[-1], -1)
    with torch.no_grad(): out = model.query(x.flatten(1, 2), cond, d.flatten(1, 2), fine=fine)
    out.sigma = out.sigma.view_as(z)
    out.values = {k: v.view(*z.shape, -1) for k, v in out.values.items()}
    return out


@pytest.mark.parametrize('fine', [False, True], ids=['coarse', 'fine'])
def test_queries(case, fine):
    io, model, cond, _ = case
    with torch.no_grad(): out = model.query(io['xyz'], cond, io['viewdirs'], fine=fine)
    v, name = out.values, 'fine' if fine else 'coarse'
    residual = v['coord'] - io['xyz']                     # their network returns the coordinate's error, ours the coordinate
    close(torch.cat([v['rgb'], out.sigma[..., None], v['feature'], residual], -1), io[f'query_{name}'])
    close(v['v_nerf'], io[f'last_feat_{name}'])


def test_rays(case):
    io, model, _, cameras = case
    W = io['images'].shape[-1]
    uv = torch.stack([io['ray_pixels'] % W, io['ray_pixels'] // W], -1) + .5
    rays = model.rays(cameras(io['target_poses']), uv.expand(len(io['rays']), -1, -1))
    close(rays.origins, io['rays'][..., :3]); close(rays.directions, io['rays'][..., 3:6])


@pytest.mark.parametrize('fine', [False, True], ids=['coarse, black', 'fine, white'])
def test_rendering(case, fine):
    io, model, cond, _ = case
    rays = Rays(io['rays'][..., :3], io['rays'][..., 3:6])
    out = ask(model, cond, rays, io['z'], fine)
    r = render_samples([out], io['z'], io['rays'][..., 7:])
    depth = r.depth * r.acc                              # theirs is not divided by the opacity
    if fine:
        close(r.weights, io['fine_white_weights']); close(depth, io['fine_depth']); close(r.values['v_nerf'], io['fine_last_feat'])
        close(r.values['rgb'] + 1 - r.acc[..., None], io['fine_white_rgb'])
        return
    close(r.weights, io['weights']); close(depth, io['depth']); close(r.values['rgb'], io['rgb']); close(r.values['feature'], io['embed'])
    residual = out.values['coord'] - rays.at(io['z'])
    close(residual.mean(-2), io['coord_residual_mean'])


def test_rays_through_the_models_own_renderer(case):
    "The whole path, samples placed by the model: opaque where theirs is, and the same number of outputs."
    io, model, cond, _ = case
    rays = Rays(io['rays'][..., :3], io['rays'][..., 3:6])
    with torch.no_grad(): r = model.render(rays, cond)
    assert r.values['feature'].shape == io['embed'].shape and torch.isfinite(r.values['rgb']).all()
    assert ((r.depth * r.acc) - io['fine_depth']).abs().mean() < .2
