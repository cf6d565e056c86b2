"""The certificate by which the stack's processes know each other."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from infra.stack import certificates


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def loaded(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(certificates.paths(folder)[name]).read_bytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a certificate."""
    certificates.keep(tmp_path / "certificates")
    return tmp_path / "certificates"


def test_only_the_owner_reads_it(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert {str(path) for path in folder.iterdir()} == set(certificates.paths(folder).values())


def test_the_authority_signed_it_for_servers_and_clients_of_this_machine(folder: Path) -> None:
    authority, leaf = loaded(folder, "ca"), loaded(folder, "cert")
    leaf.verify_directly_issued_by(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "s3"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1"), ip_address("127.0.0.2")]
    uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {use._name for use in uses} == {"serverAuth", "clientAuth"}
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.BasicConstraints)


def test_the_key_is_that_of_the_certificate_and_the_authoritys_is_nowhere(folder: Path) -> None:
    key = serialization.load_pem_private_key(Path(certificates.paths(folder)["key"]).read_bytes(), None)
    assert key.public_key() == loaded(folder, "cert").public_key()
    assert key.public_key() != loaded(folder, "ca").public_key()
    assert [content.count(b"PRIVATE KEY") for content in contents(folder).values() if b"PRIVATE" in content] == [2]


def test_it_is_kept_while_it_lasts(folder: Path) -> None:
    before = contents(folder)
    certificates.keep(folder)
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
def test_it_is_made_anew_where_a_file_is_missing(folder: Path, name: str) -> None:
    before = contents(folder)
    Path(certificates.paths(folder)[name]).unlink()
    certificates.keep(folder)
    after = contents(folder)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
def test_it_is_made_anew_where_a_file_is_broken_or_not_of_the_others(folder: Path, tmp_path: Path, name: str) -> None:
    certificates.make(tmp_path / "other")
    for wrong in (b"neither certificate nor key", Path(certificates.paths(tmp_path / "other")[name]).read_bytes()):
        Path(certificates.paths(folder)[name]).write_bytes(wrong)
        certificates.keep(folder)
        loaded(folder, "cert").verify_directly_issued_by(loaded(folder, "ca"))
        assert wrong not in contents(folder).values()


def test_it_is_made_anew_near_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "LIFE", certificates.RENEWED - timedelta(hours=1))
    certificates.keep(tmp_path / "c")
    monkeypatch.undo()
    short = loaded(tmp_path / "c", "cert")
    certificates.keep(tmp_path / "c")
    assert loaded(tmp_path / "c", "cert") != short
    assert loaded(tmp_path / "c", "cert").not_valid_after_utc > datetime.now(UTC) + certificates.RENEWED
