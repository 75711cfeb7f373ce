"""What is measured of an image, in words; `pictures` measures it."""

from dataclasses import dataclass

UNSEEN = "Not seen, only measured, by the local engine:"
"""What every text that tells of an image begins with."""
_NARROW = 1.1
"""How much longer one side must be for a picture that is not square."""


@dataclass(frozen=True)
class Look:
    """What is measured of one image; sizes in pixels, words where there is a word for it."""

    width: int
    height: int
    colours: tuple[str, ...]
    """By share, the largest first."""
    shares: tuple[int, ...]
    """The share of each of them, in percent."""
    brightness: str
    busyness: str
    is_vivid: bool
    is_drawn: bool
    has_text: bool

    @property
    def orientation(self) -> str:
        """Return which way the image is longer."""
        if max(self.width, self.height) < _NARROW * min(self.width, self.height):
            return "square"
        return "landscape" if self.width > self.height else "portrait"

    @property
    def style(self) -> str:
        """Return whether it is shaded as a photograph is."""
        return "drawn" if self.is_drawn else "photographic"

    @property
    def mood(self) -> str:
        """Return how strong its colours are."""
        return "vivid" if self.is_vivid else "muted"

    def told(self) -> str:
        """Return the measures in sentences, without what begins them."""
        colours = ", ".join(f"{name} {share} %" for name, share in zip(self.colours, self.shares, strict=True))
        lettering = "with" if self.has_text else "without"
        return (
            f"{self.brightness}, {self.busyness}, {self.orientation} ({self.width} pixels wide, {self.height} high), "
            f"{self.style}, {lettering} lettering, in {self.mood} colours: {colours}."
        )

    def words(self) -> list[str]:
        """Return the measures as words of their own, the most telling first."""
        found = [*self.colours, self.brightness, self.orientation, self.busyness, self.mood, self.style]
        return found + ["lettering"] * self.has_text


def told(seen: Look | None) -> str:
    """Return what there is to tell of an image; of one that was not opened, that."""
    return f"{UNSEEN} {seen.told() if seen else 'an image that is not opened here.'}"
