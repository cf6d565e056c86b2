import pickle
from argparse import Namespace
from itertools import pairwise
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from protoquant.core.errors import ArtifactError, ConfigError, UsageError
from protoquant.features.backbone.checkpoint import ENTRIES, PREFIXES, read_checkpoint
from protoquant.features.backbone.weights import state_digest
from tests.builders.checkpoints import state, trained

ONE, TWO = {"conv.weight": torch.ones(2), "fc.bias": torch.zeros(3)}, {"conv.weight": torch.full((2,), 2.0)}


def digest(path, entry=None):
    return state_digest(read_checkpoint(path, entry).tensors.items())


def saved(path, value):
    torch.save(value, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_gives_back_its_state(tmp_path, suffix):
    tensors = state(timm.create_model("test_resnet"))
    path = tmp_path / f"weights{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    assert digest(path) == state_digest(tensors.items())
    assert read_checkpoint(path).notes == ()


def test_a_checkpoint_of_timms_training_script_opens_and_its_running_mean_is_taken(tmp_path):
    path = trained(tmp_path)
    held = torch.load(path, weights_only=False)
    assert isinstance(held["args"], Namespace)
    read = read_checkpoint(path)
    assert state_digest(read.tensors.items()) == state_digest(held["state_dict_ema"].items())
    assert read.notes == (
        "last.pth.tar holds state_dict_ema, state_dict; state_dict_ema is taken; set extract.weights_entry for another",
    )
    raw = read_checkpoint(path, "state_dict")
    assert state_digest(raw.tensors.items()) == state_digest(held["state_dict"].items()) != digest(path)
    assert raw.notes == ()


def test_without_a_running_mean_the_weights_are_taken_and_nothing_is_said(tmp_path):
    path = trained(tmp_path, ema=False)
    assert digest(path) == state_digest(torch.load(path, weights_only=False)["state_dict"].items())
    assert read_checkpoint(path).notes == ()


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_container_is_known_by_its_name(tmp_path, entry):
    path = saved(tmp_path / "run.pth", {entry: ONE, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}})
    assert digest(path) == digest(path, entry) == state_digest(ONE.items())


@pytest.mark.parametrize(("first", "second"), [*pairwise(ENTRIES)])
def test_the_first_of_the_documented_order_is_taken(tmp_path, first, second):
    path = saved(tmp_path / "run.pth", {second: TWO, first: ONE, "other": TWO})
    assert digest(path) == state_digest(ONE.items())
    (note,) = read_checkpoint(path).notes
    assert note.startswith(f"run.pth holds {first}, {second}, other; {first} is taken")
    assert digest(path, second) == state_digest(TWO.items())


def test_an_entry_that_is_none_is_not_there(tmp_path):
    path = saved(tmp_path / "run.pth", {"model_ema": None, "model": ONE})
    assert digest(path) == state_digest(ONE.items())


def test_an_entry_of_another_name_is_taken_only_if_it_is_asked_for(tmp_path):
    path = saved(tmp_path / "run.pth", {"teacher": ONE, "student": TWO, "epoch": 3})
    assert digest(path, "teacher") == state_digest(ONE.items())
    with pytest.raises(
        ArtifactError, match=r"holds tensors in student, teacher, not in one of state_dict_ema, .*; set "
    ):
        read_checkpoint(path)


def test_an_entry_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    path = saved(tmp_path / "run.pth", {"state_dict": ONE, "ema": TWO, "epoch": 3})
    with pytest.raises(ConfigError, match=r"^extract\.weights_entry: .* 'epoch'; it has state_dict, ema$"):
        read_checkpoint(path, "epoch")
    bare = saved(tmp_path / "bare.pth", {"epoch": 3})
    with pytest.raises(ConfigError, match=r"has no entry of tensors 'model'; it has none$"):
        read_checkpoint(bare, "model")
    plain = saved(tmp_path / "plain.pth", ONE)
    with pytest.raises(ConfigError, match=r"plain\.pth holds tensors and no entries, got 'model'; leave it empty"):
        read_checkpoint(plain, "model")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"epoch": 3, "lr": 0.1}, r"must map names to tensors, it holds keys 'epoch', 'lr'; save model\.state_dict"),
        ({}, r"it holds no keys; save"),
        ([torch.ones(1)], r"must map names to tensors, it holds list; save model\.state_dict\(\)"),
        ({"weight": torch.ones(1), "epoch": 3}, r"it holds keys 'weight', 'epoch'; save model\.state_dict\(\)"),
        ({0: torch.ones(1)}, r"it holds keys 0; save model\.state_dict\(\)"),
    ],
)
def test_a_checkpoint_without_tensors_by_name_says_what_it_holds(tmp_path, value, said):
    with pytest.raises(ArtifactError, match=said):
        read_checkpoint(saved(tmp_path / "run.pth", value))


@given(st.lists(st.sampled_from(PREFIXES), max_size=3))
def test_prefixes_of_all_names_are_taken_off_in_any_order(tmp_path_factory, stack):
    taken = "".join(stack)
    path = tmp_path_factory.mktemp("prefix") / "run.pth"
    torch.save({"state_dict": {taken + name: tensor for name, tensor in ONE.items()}}, path)
    read = read_checkpoint(path)
    assert state_digest(read.tensors.items()) == state_digest(ONE.items())
    assert read.notes == ((f"run.pth: all names begin with {taken}, which is left out",) if stack else ())


def test_a_prefix_that_one_name_lacks_stays(tmp_path):
    mixed = {"model.conv.weight": torch.ones(2), "criterion.weight": torch.ones(1)}
    assert read_checkpoint(saved(tmp_path / "run.pth", mixed)).tensors.keys() == mixed.keys()


def test_the_mean_of_torchs_own_averaging_is_read_without_its_counter(tmp_path):
    model = timm.create_model("test_resnet")
    mean = torch.optim.swa_utils.AveragedModel(model)
    path = saved(tmp_path / "run.pth", {"model": state(model), "model_ema": mean.state_dict()})
    assert digest(path) == state_digest(model.state_dict().items())


class Hostile:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def test_a_hostile_checkpoint_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved("hostile.pth", {"weight": Hostile()})
    saved("args.pth", {"state_dict": ONE, "args": Namespace(lr=Hostile())})
    Path("plain.pth").write_bytes(pickle.dumps(Hostile(), protocol=2))
    for name in ("hostile.pth", "args.pth", "plain.pth"):
        with pytest.raises(
            ArtifactError, match=r"alone \(it holds an object of .*, which may be code\); save it as saf"
        ):
            read_checkpoint(Path(name))
    assert not Path("executed").exists()
    assert Namespace not in torch.serialization.get_safe_globals()


def test_a_missing_file_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        read_checkpoint(tmp_path / "absent.pth")
