"""Certificates that are fetched because a request names their URL, before anybody knows who sent it.

So a request that nobody signed decides little: failures are remembered, unknown URLs have a budget, and the
fetches of one request have a few seconds together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from time import monotonic

import urllib3
from cryptography import x509
from cryptography.x509 import Certificate

from linkrunner_webhooks.errors import Reason, Unavailable

# The content at a URL within so many seconds. Raises Unavailable when there is no telling what is there, and
# LookupError when there is no content.
Fetch = Callable[[str, float], bytes]
_Read = Callable[[bytes], Sequence[Certificate]]

# A certificate has a few kilobytes, and a chain has a few certificates.
_MAX_FETCHED = 64 * 1024
# Seconds. `receive` has ten in all, and a provider that waits for the answer has fewer.
_PATIENCE = 4.0
_LONGEST_FETCH = 2.5
# Seconds until a URL that failed is asked for again.
_MEMORY = 60.0
# PayPal signs with one or two certificates at a time, so a container meets a new one every few months.
_MOST_NEW = 5
_MINUTE = 60.0
_MOST_KEPT = 32


def fetch(url: str, seconds: float) -> bytes:
    """The content at a URL. Raises Unavailable when nothing answers in time, LookupError without content."""
    deadline = monotonic() + seconds
    timeout = urllib3.Timeout(connect=1.0, read=1.5, total=seconds)
    try:
        with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
            answer = pool.request("GET", url, preload_content=False, redirect=False)
            content = b"".join(pieces(answer.read1, lambda: monotonic() < deadline))
    except urllib3.exceptions.HTTPError:
        raise _unavailable() from None
    if answer.status in (408, 429) or answer.status >= 500:
        raise _unavailable()
    if answer.status != 200:
        raise LookupError("there is no such certificate")
    return content


def pieces(read: Callable[[int], bytes], in_time: Callable[[], bool]) -> Iterator[bytes]:
    """What is read until its end, at most 64 KB. Raises Unavailable when the time is over before."""
    left = _MAX_FETCHED
    # The timeout of a socket is for each read, and a server can send a byte at a time.
    while left and (piece := read(left)):
        left -= len(piece)
        yield piece
        if not in_time():
            raise _unavailable()


def _unavailable() -> Unavailable:
    return Unavailable("the certificate cannot be fetched", reason=Reason.CERTIFICATE)


class FetchedCertificates:
    """The certificates of one container, kept while it lives. `clock` and `now` are seconds, `now` unix time.

    What cannot be had (nothing answers, nothing is there, no certificate is there) is not asked for again for
    a minute. Of URLs that are not known at most five a minute are asked for.
    """

    def __init__(self, fetch: Fetch = fetch, clock: Callable[[], float] = monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        # The local stack has threads.
        self._lock = Lock()
        self._kept: dict[str, tuple[Certificate, ...]] = {}
        # Until when a failure is remembered, and whether somebody may answer later. The budget bounds them.
        self._failed: dict[str, tuple[float, bool]] = {}
        self._asked_at: list[float] = []
        # URLs that a genuine request named, the newest last.
        self._proven: dict[str, None] = {}

    def deadline(self) -> float:
        """When the fetches of a request that comes in now must be done, by the clock."""
        return self._clock() + _PATIENCE

    def chain(self, url: str, now: float, deadline: float) -> tuple[Certificate, ...]:
        """The certificates at the URL that a request names, from leaf to issuers.

        Raises Unavailable when it cannot be told what is there, LookupError or ValueError when nothing is
        there or when too many unknown URLs were asked for.
        """
        return self._at(url, x509.load_pem_x509_certificates, now, deadline, counted=True)

    def issuer(self, url: str, now: float, deadline: float) -> Certificate:
        """The certificate at the URL that another certificate names. Raises like `chain`."""
        return self._at(url, _read_der, now, deadline, counted=False)[0]

    def prove(self, url: str) -> None:
        """Note that the certificate at this URL verified a request."""
        with self._lock:
            self._proven.pop(url, None)
            self._proven[url] = None
            _shorten(self._proven)

    def is_worth_another_try(self, url: str) -> bool:
        """Whether a request that names this URL, whose certificate cannot be had now, may well be genuine."""
        return not self._proven or url in self._proven

    def _at(
        self, url: str, read: _Read, now: float, deadline: float, *, counted: bool
    ) -> tuple[Certificate, ...]:
        with self._lock:
            if kept := self._kept.get(url):
                return kept
            self._recall_failure(url, now)
            if counted and url not in self._proven:
                self._count(now)
        # Nobody waits for the lock during a fetch.
        try:
            certificates = tuple(read(self._content(url, deadline)))
        except Exception as error:
            with self._lock:
                self._failed[url] = (now + _MEMORY, isinstance(error, Unavailable))
            raise
        with self._lock:
            self._keep(url, certificates)
        return certificates

    def _content(self, url: str, deadline: float) -> bytes:
        left = deadline - self._clock()
        if left <= 0:
            raise _unavailable()
        return self._fetch(url, min(left, _LONGEST_FETCH))

    def _recall_failure(self, url: str, now: float) -> None:
        # A clock that was set back must not make a minute longer.
        self._failed = {
            each: (until, may_answer)
            for each, (until, may_answer) in self._failed.items()
            if now < until <= now + _MEMORY
        }
        if url in self._failed:
            _until, may_answer = self._failed[url]
            raise _unavailable() if may_answer else LookupError("there was no such certificate")

    def _count(self, now: float) -> None:
        self._asked_at = [each for each in self._asked_at if abs(now - each) < _MINUTE]
        if len(self._asked_at) >= _MOST_NEW:
            raise LookupError("too many unknown certificates are asked for")
        self._asked_at.append(now)

    def _keep(self, url: str, certificates: tuple[Certificate, ...]) -> None:
        self._kept[url] = certificates
        if len(self._kept) > _MOST_KEPT:
            # A stranger does not drive out what genuine requests name.
            unproven = (each for each in self._kept if each not in self._proven and each != url)
            del self._kept[next(unproven, next(iter(self._kept)))]


def _read_der(content: bytes) -> tuple[Certificate, ...]:
    return (x509.load_der_x509_certificate(content),)


def _shorten(urls: dict[str, None]) -> None:
    if len(urls) > _MOST_KEPT:
        del urls[next(iter(urls))]
