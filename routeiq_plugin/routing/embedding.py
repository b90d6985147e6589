"""Text to a vector, without torch: wordllama's static token table, averaged; .1 ms for a short prompt.

The table and its tokenizer are read straight from the installed wheel: `WordLlama.load()` asks the network for both.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from routeiq_plugin.errors import Unavailable

if TYPE_CHECKING:
    from numpy import ndarray

STATIC: Final = "wordllama-l2-supercat-128"
DIM: Final = 128
"""The table was trained so that its first numbers stand for themselves (Matryoshka); the other half adds no quality."""
_WEIGHTS: Final = "weights/l2_supercat_256.safetensors"
_TOKENIZER: Final = "tokenizers/l2_supercat_tokenizer_config.json"
_TENSOR: Final = "embedding.weight"

HEAD_CHARS: Final = 1_000
TAIL_CHARS: Final = 1_000
"""A longer prompt is known by its beginning and its end: where the question is, as a rule."""
_PIECE_CHARS: Final = 64
"""The tokenizer takes more than twice the time for twice the text: what has no spaces is cut."""
_WORDS: Final = 32_768
"""Words whose tokens are remembered, some 8 MB."""

CACHED: Final = 4_096

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EmbedderId:
    """What an artifact was trained with; another table gives other vectors."""

    id: str
    sha256: str
    dim: int


class Embedder(Protocol):
    """Turns text into a unit vector; the same text always into the same."""

    @property
    def identity(self) -> EmbedderId:
        """Say which table this is."""
        ...

    def embed(self, text: str) -> ndarray:
        """Return a float32 vector of shape (dim,) and length 1; a text without any token gives zeros."""
        ...


class StaticEmbedder:
    """Mean of static token vectors."""

    def __init__(self, table: ndarray, tokenizer: Any, sha256: str) -> None:
        self._table = table
        self._tokenizer = tokenizer
        self._words: dict[str, tuple[int, ...]] = {}
        self.identity = EmbedderId(STATIC, sha256, int(table.shape[1]))

    def embed(self, text: str) -> ndarray:
        """Average the vectors of the text's tokens, and scale to length 1."""
        import numpy as np

        ids = [token for word in _shortened(text).split() for token in self._tokens(word)]
        if not ids:
            return np.zeros(self.identity.dim, dtype=np.float32)
        mean = self._table.take(ids, axis=0).mean(axis=0)
        return np.asarray(mean / max(float(np.sqrt(mean @ mean)), 1e-12), dtype=np.float32)

    def _tokens(self, word: str) -> tuple[int, ...]:
        """Return a word's tokens; none spans two words, so a word always has the same."""
        known = self._words.get(word)
        if known is None:
            plain = word.encode(errors="replace").decode()  # JSON can hold half a surrogate pair
            pieces = [plain[at : at + _PIECE_CHARS] for at in range(0, len(plain), _PIECE_CHARS)]
            encoded = (self._tokenizer.encode(piece, add_special_tokens=False).ids for piece in pieces)
            known = tuple(token for ids in encoded for token in ids)
            if len(word) <= _PIECE_CHARS:
                if len(self._words) >= _WORDS:
                    self._words.clear()
                self._words[word] = known
        return known


class ByText(Generic[T]):
    """Remembers what was made of the last texts, by their hash; safe among threads."""

    def __init__(self, size: int = CACHED) -> None:
        self._size = size
        self._known: OrderedDict[bytes, T] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, text: str, make: Callable[[str], T]) -> T:
        """Return what is remembered of a text, or make and remember it; callers must not write into it."""
        key = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
                return found
        made = make(text)
        with self._lock:
            self._known[key] = made
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        return made


class CachedEmbedder:
    """Remembers the last vectors."""

    def __init__(self, embedder: Embedder, size: int = CACHED) -> None:
        self._embedder = embedder
        self._known: ByText[ndarray] = ByText(size)

    @property
    def identity(self) -> EmbedderId:
        """Say which table is behind this."""
        return self._embedder.identity

    def embed(self, text: str) -> ndarray:
        """Return the remembered vector, or make and remember it; callers must not write into it."""
        return self._known.of(text, self._embedder.embed)


@cache
def static_embedder() -> CachedEmbedder:
    """Load the one table of this process: 16 MB, a quarter of a second; raises `Unavailable` with the pip command."""
    root = _wheel()
    try:
        import numpy as np
        from safetensors.numpy import load
        from tokenizers import Tokenizer
    except ImportError as absent:
        raise Unavailable(f"{absent.name} is not installed; run: pip install {absent.name}") from None
    weights, vocabulary = (root / _WEIGHTS).read_bytes(), (root / _TOKENIZER).read_bytes()
    digest = hashlib.sha256(weights + vocabulary).hexdigest()
    table = np.ascontiguousarray(load(weights)[_TENSOR][:, :DIM], dtype=np.float32)
    return CachedEmbedder(StaticEmbedder(table, Tokenizer.from_str(vocabulary.decode()), digest))


def _wheel() -> Path:
    spec = find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable("wordllama is not installed; run: pip install wordllama")
    return Path(next(iter(spec.submodule_search_locations)))


def _shortened(text: str) -> str:
    if len(text) <= HEAD_CHARS + TAIL_CHARS:
        return text
    return f"{text[:HEAD_CHARS]} {text[-TAIL_CHARS:]}"
