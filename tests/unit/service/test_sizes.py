"""Instance types become limits."""

import pytest

from hutch.errors import Invalid
from hutch.service.instances import sizes


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("", {}),
        ("c2-m4", {"limits.cpu": "2", "limits.memory": "4096MiB"}),
        ("c1.5-m0.5", {"limits.cpu": "2", "limits.cpu.allowance": "75%", "limits.memory": "512MiB"}),
        ("m8", {"limits.memory": "8192MiB"}),
        ("c3", {"limits.cpu": "3"}),
        ("aws:t2.micro", {"limits.cpu": "1", "limits.memory": "1024MiB"}),
        ("t3.large", {"limits.cpu": "2", "limits.memory": "8192MiB"}),
        ("t2.medium", {"limits.cpu": "2", "limits.memory": "4096MiB"}),
        ("m5.2xlarge", {"limits.cpu": "8", "limits.memory": "32768MiB"}),
        ("gce:f1-micro", {"limits.cpu": "1", "limits.cpu.allowance": "20%", "limits.memory": "614MiB"}),
        ("n1-standard-4", {"limits.cpu": "4", "limits.memory": "15360MiB"}),
        ("azure:Standard_D2s_v3", {"limits.cpu": "2", "limits.memory": "8192MiB"}),
        ("Standard_F8s_v2", {"limits.cpu": "8", "limits.memory": "16384MiB"}),
    ],
)
def test_a_type_is_a_number_of_processors_and_an_amount_of_memory(name: str, wanted: dict[str, str]) -> None:
    assert sizes.limits(name) == wanted


@pytest.mark.parametrize(
    ("name", "hint"),
    [("aws:t2.mikro", "did you mean aws:t2.micro"), ("huge", "c2-m4"), ("c0", "no sense"), ("c9999-m1", "no sense")],
)
def test_an_unknown_type_is_refused_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(Invalid, match=hint):
        sizes.limits(name)
