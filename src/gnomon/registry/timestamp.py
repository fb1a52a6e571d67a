"""RFC 3161 time stamps: the request as bytes, what a response says, and whether its signature holds.

The few DER types that this needs are written and read here; the signature is checked by openssl. What is stamped
is the 32 bytes of a chain head, which is itself a SHA-256.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gnomon.common.errors import GnomonError
from gnomon.registry.chain import is_hash

# DER tags (ITU-T X.690) and object identifiers.
BOOLEAN, INTEGER, OCTETS, NULL, OID = 0x01, 0x02, 0x04, 0x05, 0x06
GENERALIZED_TIME, SEQUENCE, CONTEXT_0 = 0x18, 0x30, 0xA0
SHA256 = bytes.fromhex("608648016503040201")  # 2.16.840.1.101.3.4.2.1
SIGNED_DATA = bytes.fromhex("2a864886f70d010702")  # 1.2.840.113549.1.7.2
LONGEST_RESPONSE = 1 << 20  # bytes; a response with its certificates has some thousands
TST_INFO = bytes.fromhex("2a864886f70d0109100104")  # 1.2.840.113549.1.9.16.1.4


@dataclass(frozen=True)
class Stamp:
    """What a time stamp states. imprint: hexadecimal digits of what was stamped. time: UTC, ISO 8601."""

    imprint: str
    time: str


def request(head: str, nonce: int | None = None) -> bytes:
    """TimeStampReq (RFC 3161, 2.4.1) for a chain head, asking that the response carry its certificate.

    nonce: a number that the authority must repeat; None leaves it out and makes the request a function of the head.
    """
    if not is_hash(head):
        raise GnomonError(f"time stamp: {head!r} is no chain head; that is 64 hexadecimal digits")
    algorithm = _der(SEQUENCE, _der(OID, SHA256) + _der(NULL, b""))
    imprint = _der(SEQUENCE, algorithm + _der(OCTETS, bytes.fromhex(head)))
    number = b"" if nonce is None else _integer(nonce)
    return _der(SEQUENCE, _integer(1) + imprint + number + _der(BOOLEAN, b"\xff"))


def ask(url: str, head: str, timeout_s: float = 30.0) -> bytes:
    """The authority's response to a request for head, unread. This is the one place where the registry calls out.

    Raises GnomonError when url is no http(s) address, or nothing usable comes back within timeout_s seconds.
    """
    if not url.startswith(("https://", "http://")):
        raise GnomonError(f"time stamp: {url!r} is no address of an authority; it begins with https:// or http://")
    from urllib.error import URLError
    from urllib.request import Request, urlopen

    asked = Request(url, request(head), {"Content-Type": "application/timestamp-query", "User-Agent": "gnomon"})
    try:
        with urlopen(asked, timeout=timeout_s) as answer:
            return bytes(answer.read(LONGEST_RESPONSE))
    except (URLError, OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise GnomonError(f"time stamp: {url}: {why}; no stamp was made, and the registry is as it was") from None


def read_stamp(response: bytes) -> Stamp:
    """What a TimeStampResp (RFC 3161, 2.4.2) states; its signature is not looked at.

    Raises GnomonError when the bytes are no response, the authority refused, or it stamped with another hash.
    """
    status, *token = _parts(_only(response, SEQUENCE))
    granted = int.from_bytes(_parts(_expect(status, SEQUENCE))[0][1])
    if granted not in (0, 1) or not token:
        raise GnomonError(f"time stamp: the authority refused with status {granted}; ask again")
    kind, content = _pair(_expect(token[0], SEQUENCE))
    if _expect(kind, OID) != SIGNED_DATA:
        raise GnomonError("time stamp: the response holds no signed data")
    signed = _parts(_only(_expect(content, CONTEXT_0), SEQUENCE))
    if len(signed) < 3:
        raise GnomonError("time stamp: the signed data is cut off")
    kind, content = _pair(_expect(signed[2], SEQUENCE))
    if _expect(kind, OID) != TST_INFO:
        raise GnomonError("time stamp: what was signed is no time stamp")
    info = _parts(_only(_only(_expect(content, CONTEXT_0), OCTETS), SEQUENCE))
    if len(info) < 5:
        raise GnomonError("time stamp: the stamp is cut off")
    algorithm, digest = _pair(_expect(info[2], SEQUENCE))
    if _expect(_parts(_expect(algorithm, SEQUENCE))[0], OID) != SHA256:
        raise GnomonError("time stamp: it is not over a SHA-256; gnomon's request asks for one")
    return Stamp(_expect(digest, OCTETS).hex(), _time(_expect(info[4], GENERALIZED_TIME)))


def check_signature(response: bytes, head: str, ca_file: Path | None = None) -> str:
    """Why the stamp's signature over head does not hold, as far as `openssl ts -verify` can tell; "" when it does.

    ca_file: PEM certificates to trust; default: those that this machine trusts.
    """
    if shutil.which("openssl") is None:
        return "openssl is not installed, so the signature was not checked"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "response.tsr")
        path.write_bytes(response)
        trust = ["-CAfile", str(ca_file)] if ca_file else _machine_trust()
        done = _openssl("ts", "-verify", "-digest", head, "-in", str(path), *trust)
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if ":error:" in line or "rror" in line]
    return "openssl does not accept the signature" + (f" ({lines[-1].split(':', 4)[-1].strip(': ')})" if lines else "")


def signer(response: bytes) -> str:
    """Whose certificate the response carries first, as openssl prints its subject; "" when that cannot be told."""
    if shutil.which("openssl") is None:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        path, token = Path(folder, "response.tsr"), Path(folder, "token.der")
        path.write_bytes(response)
        _openssl("ts", "-reply", "-in", str(path), "-token_out", "-out", str(token))
        shown = _openssl("pkcs7", "-inform", "DER", "-in", str(token), "-print_certs", "-noout").stdout
    subjects = [line.partition("=")[2].strip() for line in shown.splitlines() if line.startswith("subject")]
    return subjects[0] if subjects else ""


def _openssl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60, check=False)


def _machine_trust() -> list[str]:
    import ssl

    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return ["-CAfile", paths.cafile]
    return ["-CApath", paths.capath or paths.openssl_capath]


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(digits)]) + digits + content


def _integer(value: int) -> bytes:
    return _der(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, signed=True))


def _parts(data: bytes) -> list[tuple[int, bytes]]:
    """The (tag, content) pairs that data is made of. Raises GnomonError when it is not DER."""
    parts, at = [], 0
    while at < len(data):
        if at + 2 > len(data):
            raise GnomonError("time stamp: the bytes break off")
        tag, size = data[at], data[at + 1]
        at += 2
        if size >= 0x80:
            digits = size & 0x7F
            if not 1 <= digits <= 4:
                raise GnomonError("time stamp: a length of this form is not DER")
            size, at = int.from_bytes(data[at : at + digits]), at + digits
        if at + size > len(data):
            raise GnomonError("time stamp: the bytes break off")
        parts.append((tag, data[at : at + size]))
        at += size
    if not parts:
        raise GnomonError("time stamp: a part is empty")
    return parts


def _expect(part: tuple[int, bytes], tag: int) -> bytes:
    if part[0] != tag:
        raise GnomonError(f"time stamp: tag {part[0]:#04x} stands where {tag:#04x} belongs; is this a .tsr in DER?")
    return part[1]


def _only(data: bytes, tag: int) -> bytes:
    return _expect(_parts(data)[0], tag)


def _pair(data: bytes) -> tuple[tuple[int, bytes], tuple[int, bytes]]:
    parts = _parts(data)
    if len(parts) < 2:
        raise GnomonError("time stamp: a part is missing")
    return parts[0], parts[1]


def _time(text: bytes) -> str:
    """A GeneralizedTime such as 20260102030405Z or, with parts of a second, 20260102030405.678Z."""
    try:
        whole, _, fraction = text.decode("ascii").removesuffix("Z").partition(".")
        value = datetime.strptime(whole, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        value = value.replace(microsecond=int(fraction[:6].ljust(6, "0")) if fraction else 0)
    except ValueError:
        raise GnomonError(f"time stamp: {text!r} is no time") from None
    return value.isoformat().replace("+00:00", "Z")
