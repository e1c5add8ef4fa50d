"""The pads of one proof, prover's side (what they are for: protocol/hidden.py)."""

from __future__ import annotations

import numpy as np

from syurmy.prover.field import U64, Ext, ext_array, ext_list
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.hidden import Pads, product_sums
from syurmy.prover.secrets import Secrets


def fill_pads(pads: Pads, secrets: Secrets) -> U64:
    """``uint64[2, total]``: uniform, but for the products of pads and of their shadows."""
    out = secrets.ext(pads.total)
    for group in (*pads.groups, *pads.shadows):
        end = group.first + group.count
        products = product_sums(ext_list(out[:, group.first : end]), group.sums)
        out[:, end : end + len(products)] = ext_array(products)
    return out


def pad_rows(pads: U64, opening: Opening, secrets: Secrets) -> U64:
    """The rows of the witness matrix behind its own, ``uint64[aux, C]``: the pads, two rows over F for each over K;
    uniform rows where these are too few."""
    shape = opening.matrices[0].shape
    rows = len(opening.matrices[0].places) - 1
    padded = np.zeros((2, rows * shape.cols), np.uint64)
    padded[:, : pads.shape[1]] = pads
    of_pads = padded.reshape(2, rows, shape.cols).transpose(1, 0, 2).reshape(2 * rows, shape.cols)
    extra = shape.aux - 2 * rows
    return np.concatenate([of_pads, secrets.elements(extra * shape.cols).reshape(extra, shape.cols)])


def sacrificed(pads: Pads, values: U64, e: Ext) -> U64:
    """What is sent for the sacrifice: e times a pad minus its shadow, for every pad that is multiplied."""
    own = [i for g in pads.groups for i in range(g.first, g.first + g.count)]
    shadows = [i for g in pads.shadows for i in range(g.first, g.first + g.count)]
    if not own:
        return np.zeros((2, 0), np.uint64)
    minus = mle.scale(np.ascontiguousarray(values[:, shadows]), Ext(-1))
    return mle.add(mle.scale(np.ascontiguousarray(values[:, own]), e), minus)
