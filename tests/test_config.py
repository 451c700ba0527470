import dataclasses
import importlib.util
import json
import re
from pathlib import Path
from typing import get_args

import pytest

from effnet_jax import Config, ConfigError, config, train
from effnet_jax.config import TrainConfig, paper
from effnet_jax.config_reader import from_mapping
from effnet_jax.images.augment import VIEWS
from effnet_jax.images.preprocessing import SOURCE_SCALE
from effnet_jax.models.attention import ATTENTION
from effnet_jax.models.encoder import POOLING
from effnet_jax.retrieval.evaluation import PROTOCOLS

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_is_valid_and_says_how_to_run_it(path):
    values = load(path)
    second = path.stem.endswith("_trsm")
    assert "--config.init_from=" in path.read_text() or not second
    values.init_from = "runs/first" if second else ""
    config = from_mapping(values)
    assert f"--config configs/{path.name}" in path.read_text()
    if second:  # the encoders are those of the configuration that it names
        first = from_mapping(load(path.with_stem(path.stem.removesuffix("_trsm"))))
        assert (config.model, config.data) == (first.model, first.data)
        assert config.trsm.enabled


def test_defaults_are_the_papers_recipe():
    config = from_mapping(paper())
    assert config == Config()
    assert (config.optim.learning_rate, config.optim.weight_decay, config.optim.name) == (6e-6, 1e-4, "adam")
    assert (config.train.batch_size, config.train.epochs, config.loss.temperature) == (16, 500, 0.07)
    assert config.augment.sketch_views == ("a0", "a1")


def test_json_round_trip():
    config = Config()
    assert from_mapping(json.loads(json.dumps(config.to_dict()))) == config


def test_a_config_is_validated_as_its_fields_are():
    assert from_mapping(Config()) == Config()
    with pytest.raises(ConfigError, match=r"train\.epochs=-1\.0 must be above 0"):
        from_mapping(dataclasses.replace(Config(), train=TrainConfig(epochs=-1.0)))


def test_all_problems_come_at_once_with_their_values():
    values = paper().to_dict()
    values["optim"]["learning_rte"] = 1.0
    values["train"]["batch_size"] = "16"
    values["augment"]["fill"] = (0, 0, "white")
    values["nonsense"] = 1
    with pytest.raises(ConfigError) as caught:
        from_mapping(values)
    for words in ("optim.learning_rte", "batch_size must be int, but is '16'", "fill[2]", "config.nonsense"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("section", "changes", "words"),
    [
        ("model", {"backbone": "vgg19"}, "model.backbone='vgg19'"),
        ("model", {"backbone": "vgg16", "image_size": 31}, "vgg16 needs an image size of 32 pixels or more"),
        ("model", {"backbone": "inception_v3", "image_size": 64}, "inception_v3 needs an image size of 75"),
        ("model", {"backbone": "swin_tiny", "image_size": 72}, "of 32 pixels or more, a multiple of 32"),
        ("model", {"backbone": "resnet50", "pooling": "cls"}, "CLS token, which resnet50 does not have"),
        ("model", {"backbone": "resnet50", "remat": True}, "model.remat=True has no meaning for resnet50"),
        ("model", {"backbone": "swin_base", "patch_size": 8}, "model.patch_size=8 has no meaning for swin_base"),
        ("model", {"drop_path": 0.2}, "model.drop_path=0.2 has no meaning for vit_base"),
        ("model", {"backbone": "swin_base", "drop_path": 1.0}, "below 1"),
        ("model", {"backbone": "swin_base", "heads": 3}, "128 must be a multiple of the number of heads 3"),
        ("model", {"image_size": 230}, "multiple of model.patch_size=16"),
        ("model", {"heads": 7}, "768 must be a multiple of the number of heads 7"),
        ("model", {"token_recycling": True, "recycling_heads": 7}, "768 must be a multiple of 7 heads"),
        ("model", {"token_recycling": True, "recycling_heads": 0}, "0 heads cannot be; it needs 1 or more"),
        ("model", {"token_recycling": True, "recycling_hidden": 0}, "model.recycling_hidden=0 must be above 0"),
        (
            "model",
            {"token_recycling": True, "recycling_as_published": True, "patch_size": 8},
            "the published behaviour is one of 14 x 14 patches only, not of 28 x 28",
        ),
        ("model", {"recycling_heads": 4}, "model.recycling_heads=4 has no meaning without model.token_recycling"),
        ("model", {"weights": ""}, "model.weights is empty"),
        ("model", {"dtype": "float16"}, "float16"),
        ("train", {"batch_size": 1}, "no negatives"),
        ("train", {"micro_batch_size": 5}, "train.batch_size=16 must be a multiple of train.micro_batch_size=5"),
        ("loss", {"block_pairs": -1}, "loss.block_pairs=-1"),
        ("train", {"epochs": 0}, "train.epochs=0"),
        ("data", {"validation_share": 0.9}, "0..0.5"),
        ("data", {"std": (1.0, 0.0, 1.0)}, "above 0"),
        ("loss", {"multi": 0, "inter": 0, "intra_sketch": 0, "intra_photo": 0}, "one of them"),
        ("loss", {"temperature": -1.0}, "temperature=-1.0"),
        ("augment", {"sketch_views": ("a0",)}, "two of a0, a1, a2"),
        (
            "augment",
            {"photo_views": ("a0", "a7")},
            "photo_views[1]='a7' is not known; choose one of a0, a1, a2",
        ),
        (
            "eval",
            {"protocols": ("encoder", "best")},
            "eval.protocols[1]='best' is not known; choose one of enc",
        ),
        (
            "eval",
            {"protocols": ()},
            "some of encoder, late, late_rerank, rerank",
        ),
        ("model", {"pooling": "sum"}, "model.pooling='sum' is not known; choose one of cls, mean, max, all"),
        ("model", {"stem": 3}, "model.stem=3 is not known; choose one of linear, conv"),
        (
            "model",
            {"attention": ["xla"]},
            "model.attention=['xla'] is not known; choose one of auto, merged, xla, cudnn",
        ),
        ("model", {"stem": "conv", "patch_size": 14}, "model.patch_size=14 must be a power of 2 above 1"),
        ("model", {"stem": "conv", "patch_size": 1}, "model.patch_size=1 must be a power of 2 above 1"),
        ("eval", {"ks": (0, 1)}, "K starts at 1"),
        ("optim", {"schedule": "step"}, "constant, cosine"),
    ],
)
def test_impossible_combinations_are_refused(section, changes, words):
    values = paper().to_dict()
    values[section] |= changes
    with pytest.raises(ConfigError, match=re.escape(words)):
        from_mapping(values)


@pytest.mark.parametrize(("options", "parts"), [
    (dict(fill=(0, 0)), ["fill=(0, 0)"]), (dict(fill=(0, 0, 256), mirror=1.5), ["fill=(0, 0, 256)", "mirror=1.5"]),
    (dict(max_angle=200.0), ["max_angle=200.0"]), (dict(crop_area=(0.0, 1.0)), ["crop_area"]),
    (dict(crop_ratio=(2.0, 1.0)), ["crop_ratio"]), (dict(jitter=(0.4, 0.4, 0.4, 0.6)), ["jitter"]),
    (dict(crop_mirror=-0.1), ["crop_mirror=-0.1"])])  # fmt: skip
def test_impossible_augmentation_is_refused(options, parts):
    with pytest.raises(ConfigError) as error:
        from_mapping({"augment": options})
    assert all(part in str(error.value) for part in parts)
    assert str(error.value).count("augment.") == len(parts)


def test_a_convolutional_stem_takes_patches_of_a_power_of_two():
    assert from_mapping({"model": {"stem": "conv", "patch_size": 32}}).model.patch_size == 32


@pytest.mark.parametrize("value", [3, None, "abc", ["name"], ("optim",)])
def test_a_section_that_is_no_mapping_is_named(value, tmp_path):
    with pytest.raises(ConfigError, match=rf"config\.data must be a mapping .*, but is {re.escape(repr(value))}"):
        train({"data": value, "model": {"heads": 7}}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_configuration_that_is_no_mapping_is_refused(unchecked):
    with pytest.raises(ConfigError, match="config must be a mapping of its fields to their values, but is 'configs/"):
        from_mapping("configs/demo.py")


def test_allowed_values_stand_once():
    assert get_args(config.Pooling) == ("", *POOLING)
    assert get_args(config.AttentionName) == ("auto", *ATTENTION)
    assert get_args(config.EvalProtocol) == tuple(PROTOCOLS)
    assert get_args(config.ViewName) == tuple(VIEWS) == tuple(SOURCE_SCALE)


def test_micro_batches_are_refused_where_they_have_no_meaning():
    values = paper().to_dict() | {"init_from": "runs/first"}
    values["train"]["micro_batch_size"] = 8
    values["trsm"]["enabled"] = True
    with pytest.raises(ConfigError, match="micro_batch_size=8: the encoders of stage 2 are frozen"):
        from_mapping(values)
    values = paper().to_dict()
    values["train"]["micro_batch_size"] = 8
    assert from_mapping(values).train.micro_batch_size == 8
    values["model"]["backbone"] = "resnet50"
    with pytest.raises(ConfigError, match="micro_batch_size=8: resnet50 has batch norms"):
        from_mapping(values)
    values["model"] |= {"backbone": "vit_base", "token_recycling": True, "recycling_as_published": True}
    with pytest.raises(ConfigError, match=r"micro_batch_size=8: model\.recycling_as_published mixes the rows"):
        from_mapping(values)


def test_integers_serve_as_floats_but_booleans_do_not():
    values = paper().to_dict()
    values["train"]["epochs"] = 3
    assert from_mapping(values).train.epochs == 3.0
    values["train"]["epochs"] = True
    with pytest.raises(ConfigError, match="epochs must be float"):
        from_mapping(values)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_are_finite(value):
    with pytest.raises(ConfigError, match=r"train\.epochs must be finite"):
        from_mapping({"train": {"epochs": value}})
