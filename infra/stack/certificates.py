"""Makes the certificate by which the stack's processes know each other; a client without it gets no answer.

SeaweedFS and Ray have ports without a password. Both can require a certificate of an authority instead. The authority
signs one certificate and is discarded: its private key is never written.
"""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.stack.passwords import write_private

FILES = {"ca": "ca.pem", "cert": "stack.pem", "key": "stack.key"}
DNS_NAMES = ("localhost", "s3")  # "s3" is the name among containers
ADDRESSES = ("127.0.0.1", "127.0.0.2")  # the second is Ray's: infra/stack/place.py
LIFE = timedelta(days=3650)
RENEWED = timedelta(days=30)  # before it expires


def paths(folder: str | Path) -> dict[str, str]:
    """Return the paths of authority, certificate and key, by the keys of `FILES`."""
    return {name: str(Path(folder) / file) for name, file in FILES.items()}


def keep(folder: Path) -> None:
    """Make the certificate unless there is a valid one that will not expire soon.

    Args:
        folder: Folder of its files, which only their owner can read.
    """
    if not _lasts(folder):
        make(folder)


def make(folder: Path) -> None:
    """Make a new certificate and its authority."""
    folder.mkdir(mode=0o700, exist_ok=True)
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = _name("protoquant stack authority")
    root = _signed(issuer, issuer, authority.public_key(), authority, [x509.BasicConstraints(ca=True, path_length=0)])
    names = [x509.DNSName(name) for name in DNS_NAMES]
    addresses = [x509.IPAddress(ip_address(one)) for one in ADDRESSES]
    uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    extensions = [x509.SubjectAlternativeName([*names, *addresses]), uses]
    leaf = _signed(_name("protoquant stack"), issuer, key.public_key(), authority, extensions)
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for name, content in (("ca", _pem(root)), ("cert", _pem(leaf)), ("key", plain)):
        write_private(folder / FILES[name], content.decode())


def _lasts(folder: Path) -> bool:
    try:
        root, found = (x509.load_pem_x509_certificate((folder / FILES[name]).read_bytes()) for name in ("ca", "cert"))
        key = serialization.load_pem_private_key((folder / FILES["key"]).read_bytes(), None)
        found.verify_directly_issued_by(root)  # fails if a call of make was interrupted
    except (OSError, ValueError, InvalidSignature):
        return False
    return key.public_key() == found.public_key() and found.not_valid_after_utc - datetime.now(UTC) > RENEWED


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    by: ec.EllipticCurvePrivateKey,
    extensions: list[x509.ExtensionType],
) -> x509.Certificate:
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + LIFE)
    for extension in extensions:
        made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return made.sign(by, hashes.SHA256())
