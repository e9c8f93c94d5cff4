"""The field without its three exact shortcuts, made from the same weights, so that a ratio compares the same function.

Each shortcut is derived, in a naive and a fast form, where it is taught: the feature head once a ray in notebook 04, the image half of the
first layer once a pixel in notebook 03, the fine pass that asks its new samples only in notebook 02. Here they are switches of one step."""
import torch
from featurenerf.fields import Cond, FeatureField, image_features
from featurenerf.losses import color_loss, coord_loss, distill_loss, total_loss
from featurenerf.rendering import FieldOut, render_rays

SHORTCUTS = 'late', 'first', 'reuse'
FORMS = {'naive': (), 'feature head once a ray': ('late',), 'image layer once a pixel': ('first',), 'coarse answers reused': ('reuse',), 'all three': SHORTCUTS}


def field_fn(
    field:FeatureField, # with the MLP trunk and separate heads (the paper's)
    E,                  # (B, V, C, h, w) feature maps of the image encoder
    cameras,            # batch (B, V)
    use=SHORTCUTS,      # which shortcuts
): # function of samples (B, R, S, 3) and directions (B, R, 1, 3); without 'late' it has 'feature' at every sample
    first, late = 'first' in use, 'late' in use
    maps = field.trunk.project(E.flatten(0, 1)).unflatten(0, E.shape[:2]) if first else E
    cond = Cond(maps, cameras)
    def ask(x, d):
        if first: out = field(x, d, cond)
        else:
            flat = x.flatten(1, 2)
            image = field.trunk.image(image_features(flat, cond, field.center))             # one linear layer a sample
            v = field.trunk(field.encoding(flat)[:, None], image).view(*x.shape[:3], -1)
            out = FieldOut(field.density(v), dict(rgb=field.color(v, d), v_nerf=v, coord=field.coord(v)))
        if not late: out.values['feature'] = field.feature(out.values['v_nerf'], d)         # D channels a sample
        return out
    return ask


def render(field, E, cameras, rays, box, use=SHORTCUTS, samples=(64, 16, 16), both_passes=False, gate=None, ask=None):
    "Values of rays (B, R): 'rgb', 'v_nerf', 'coord', 'feature'. `gate` wraps the field, as an edit does; `ask` is its field_fn, made before for many calls."
    ask = ask or field_fn(field, E, cameras, use)
    r = render_rays(gate(ask) if gate else ask, rays, box, *samples, reuse='reuse' in use, keep_coarse=both_passes)
    for p in (r, r.coarse):
        if p is not None and 'late' in use: p.values['feature'] = field.feature.composited(p.values['v_nerf'], rays.directions, p.acc)
    return r


def loss(r, rays, rgb, feature):
    "L of the paper's section 3.3, on the last pass, or on both if the coarse one was kept."
    losses = {}
    for name, p in {'': r, '_coarse': r.coarse}.items():
        if p is None: continue
        losses |= {'rec' + name: color_loss(p.values['rgb'], rgb), 'distill' + name: distill_loss(p.values['feature'], feature),
                   'coord' + name: coord_loss(p.samples('coord').to(rgb.dtype), rays.at(p.t))}
    return total_loss(losses)
