"""Recipes: read, checked, refused with the key named."""

from __future__ import annotations

from pathlib import Path

import pytest

from restorer.cli.session import RECIPES
from restorer.errors import UsageError
from restorer.networks.gfpgan import GFPGAN
from restorer.training.settings import RestorationSettings, load_recipe

GOOD = """
images = 8
[sizes]
out_size = 64
style_dim = 8
prior_channels = [8, 8, 8, 8, 8]
unet_channels = [4, 4, 4, 4, 4]
"""


def _load(tmp_path: Path, text: str) -> RestorationSettings:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, RestorationSettings)


def test_a_recipe_becomes_settings(tmp_path: Path) -> None:
    settings = _load(
        tmp_path, "learning_rate = 1\n" + GOOD + "[losses]\nl1 = 3\n[samples.degradation]\nsigma = [1, 2]\n"
    )
    assert settings.sizes.prior_channels == (8, 8, 8, 8, 8)
    assert settings.losses.l1 == 3 and settings.losses.gradient == 1.0
    assert settings.samples.degradation.sigma == (1, 2)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("imagse = 3\n" + GOOD, "unknown key 'imagse'"),
        (GOOD + "[losses]\nvgg = 1.0\n", "unknown key 'vgg'"),
        (GOOD.replace("images = 8", 'images = "8"'), "images is '8', not of type int"),
        (GOOD.replace("out_size = 64", "out_size = true"), "out_size is True"),
        (GOOD.replace("images = 8", ""), "incomplete.*images"),
        ("images = = 3", "not TOML"),
        ("images = 1\nsizes = 3", "must be a table"),
    ],
)
def test_a_bad_recipe_is_refused(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        _load(tmp_path, text)


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_recipe(tmp_path / "none.toml", RestorationSettings)


def test_the_bundled_recipe_describes_a_network_of_the_promised_size() -> None:
    settings = load_recipe(RECIPES / "lite.toml", RestorationSettings)
    parameters = sum(parameter.numel() for parameter in GFPGAN(settings.sizes).parameters())
    assert settings.sizes.out_size == 512 and 5e6 < parameters < 8e6
