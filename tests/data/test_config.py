import subprocess
import sys
from pathlib import Path

import pytest

from protoquant.core.errors import ConfigError
from protoquant.data.config import PrepareConfig, TableConfig
from protoquant.data.readers import registry
from protoquant.data.readers.registry import READERS, reader


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"reader": "image_folders"},
            r"prepare\.reader must be .*image_folder.*'image_folders'; did you mean 'image_folder'",
        ),
        ({"test_share": 0.0}, r"prepare\.test_share must be a number > 0 and <= 0\.5, got 0\.0|got 0"),
        ({"validation_share": 0.6}, r"prepare\.validation_share must be .*<= 0\.5"),
        ({"min_side": 0}, r"prepare\.min_side must be an integer >= 1"),
        ({"root": ""}, r"prepare\.root"),
        ({"roots": "x"}, r"unknown key 'prepare\.roots'; did you mean 'root'"),
        ({"table": {}}, r"prepare: table has no effect with reader 'partbirds'; remove it or set reader: table"),
        (
            {"reader": "table", "interventions": True},
            r"interventions has no effect with reader 'table'; remove it or set reader: partbirds or funnybirds",
        ),
        ({"crop": True}, r"crop has no effect with reader 'partbirds'; remove it or set reader: cub"),
        (
            {"reader": "cub", "partial": True},
            r"partial has no effect with reader 'cub'; remove it or set reader: cars or dogs or flowers or imagenet",
        ),
        ({"reader": "cub", "ambiguous": True}, r"ambiguous has no effect with reader 'cub'.*set reader: funnybirds"),
        ({"reader": "table", "table": {"parts": "../a.csv"}}, r"prepare\.table.* must be .*got"),
        ({"reader": "table", "table": {"file": "../a.csv"}}, r"prepare\.table.* must be .*got"),
        ({"reader": "table", "table": {"file": "a.xlsx"}}, r"prepare\.table.* must be .*got"),
    ],
)
def test_a_wrong_value_is_one_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        PrepareConfig.parse(values, where="prepare")
    assert "\n" not in str(caught.value)


def test_names_of_a_table_are_read() -> None:
    config = PrepareConfig.parse(
        {"reader": "table", "root": "birds", "table": {"file": "all.parquet", "label": "species"}}
    )
    assert config.table == TableConfig(file="all.parquet", label="species")


def test_every_module_of_the_folder_is_a_reader_that_settings_offer_and_describe() -> None:
    beside = {path.stem for path in Path(registry.__file__).parent.glob("*.py")} - {"__init__", "registry", "listing"}
    field = PrepareConfig.model_json_schema()["properties"]["reader"]
    assert sorted(field["enum"]) == sorted(READERS) == sorted(beside)
    for name, entry in READERS.items():
        assert f"{name} ({entry.layout})" in field["description"]
        assert callable(reader(name))


def test_an_unknown_reader_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown reader 'tabel'; did you mean 'table'\?; readers: partbirds"):
        reader("tabel")


@pytest.mark.process
def test_the_config_loads_no_heavy_package() -> None:
    code = "import sys, protoquant.data.config; print(sorted({'torch', 'pandas', 'PIL', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
