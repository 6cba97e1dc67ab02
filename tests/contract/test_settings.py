"""contract.settings: a bad value names itself, its value and the wanted form."""

from pathlib import Path

import pytest

from contract.errors import InvalidSetting
from contract.records import GatePolicy
from contract.settings import Settings


def test_defaults_need_nothing(tmp_path: Path) -> None:
    settings = Settings.from_environment({"RIPEN_HOME": str(tmp_path)})
    assert settings.database_url == f"sqlite:///{tmp_path}/ripen.db"
    assert settings.storage_url == f"file://{tmp_path}/storage"
    assert (settings.rest_port, settings.grpc_port) == (8501, 8500)


def test_values_are_read() -> None:
    settings = Settings.from_environment(
        {"RIPEN_REST_PORT": "1234", "RIPEN_GATE_POLICY": "always", "RIPEN_RECIPE": '{"backbone": "VGG16", "alpha": 1}'}
    )
    assert settings.rest_port == 1234
    assert settings.gate_policy is GatePolicy.ALWAYS
    assert settings.recipe.backbone == "VGG16"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RIPEN_REST_PORT", "99999"),
        ("RIPEN_REST_PORT", "abc"),
        ("RIPEN_GRPC_PORT", "0"),
        ("RIPEN_REST_PORT", "8500"),
        ("RIPEN_QUEUE_SIZE", "-1"),
        ("RIPEN_REQUEST_TIMEOUT_S", "nan"),
        ("RIPEN_MAX_IMAGE_PIXELS", "inf"),
        ("RIPEN_HOST", "example.com"),
        ("RIPEN_BEHIND_PROXY", "maybe"),
        ("RIPEN_TLS_CERT", "/only/one.pem"),
        ("RIPEN_GATE_POLICY", "maybe"),
        ("RIPEN_RECIPE", "{"),
        ("RIPEN_RECIPE", '{"alpha": "big"}'),
        ("RIPEN_RECIPE", '{"head_epochs": -1}'),
        ("RIPEN_RECIPE", '{"bakbone": "VGG16"}'),
        ("RIPEN_HOME", ""),
        ("RIPEN_PROT", "1"),
    ],
)
def test_bad_values_name_themselves(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        Settings.from_environment({name: value})
    assert name in caught.value.message
    assert caught.value.code == "invalid_setting"
