"""Published configurations are found by name, beside folders and ids on the Hub."""

import pytest
from places import ROOT
from transformers import AutoModel, AutoProcessor

from pbrec_hf.hub.configs import config_folder, published_configs, recipe_file, shipped_folder


def test_names_folders_and_ids_are_told_apart(tmp_path, monkeypatch):
    assert config_folder("pbrec-mt-refcoco") == str(ROOT / "hub_configs" / "pbrec-mt-refcoco")
    assert config_folder(str(tmp_path)) == str(tmp_path)
    assert config_folder("owner/name") == "owner/name"
    (tmp_path / "pbrec-refcoco").mkdir()
    monkeypatch.chdir(tmp_path)
    assert config_folder("pbrec-refcoco") == "pbrec-refcoco"  # a folder of one's own wins


def test_recipes_are_files_or_names(tmp_path):
    (tmp_path / "mine.yaml").touch()
    assert recipe_file(tmp_path / "mine.yaml") == tmp_path / "mine.yaml"
    for name, folder in published_configs().items():
        assert recipe_file(name) == folder / "training.yaml"


@pytest.mark.parametrize("find", [config_folder, recipe_file])
def test_an_unknown_name_is_told_with_the_known_ones(find):
    with pytest.raises(
        ValueError, match="no configuration 'pbrec-mt-small': give a path, or one of pbrec-mt-refcoco, "
    ):
        find("pbrec-mt-small")


def test_an_incomplete_installation_is_told():
    with pytest.raises(FileNotFoundError, match="no folder nothing: install the package again"):
        shipped_folder("nothing")


@pytest.mark.parametrize("load", [AutoProcessor.from_pretrained, AutoModel.from_pretrained])
def test_a_recipe_that_is_loaded_as_a_checkpoint_says_what_it_lacks(load):
    folder = published_configs()["pbrec-mt-refcoco"]
    with pytest.raises(OSError, match=r"it is a recipe, .*`pbrec-hf train --config pbrec-mt-refcoco …`.* convert"):
        load(folder)
