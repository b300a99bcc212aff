"""Line icons of our own, drawn in whatever colour the theme writes in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from qtpy.QtCore import QByteArray, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtSvg import QSvgRenderer

__all__ = ["ICONS", "icon", "pixmap", "swatch"]

_FRAME = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="{ink}" '
    'stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round">{body}</svg>'
)
_DOT = '<circle cx="{x}" cy="{y}" r="{r}" fill="{{ink}}" stroke="none"/>'

#: The strokes of each icon on a square of 24; ``{ink}`` is the colour.
ICONS: Mapping[str, str] = MappingProxyType(
    {
        "point": '<circle cx="12" cy="12" r="6.5"/><path d="M12 2.5v4M12 17.5v4M2.5 12h4M17.5 12h4"/>'
        + _DOT.format(x=12, y=12, r=1.9),
        "box": '<rect x="4" y="5.5" width="16" height="13" rx="1" stroke-dasharray="3.4 2.6"/>'
        + "".join(_DOT.format(x=x, y=y, r=1.9) for x in (4, 20) for y in (5.5, 18.5)),
        "scribble": '<path d="M3 15.5C5.5 6 8.5 6 9.5 12s3 7.5 5.5 1S19 6 21 9.5"/>',
        "lasso": '<path d="M9 15.5C5.5 14.8 3.5 12.8 3.5 10.3 3.5 6.8 7.3 4 12 4s8.5 2.8 8.5 '
        '6.3-3.8 6.2-8.5 6.2"/><circle cx="10.5" cy="16.5" r="1.7"/><path d="M10 18.2c0 1.6-1 2.3-2.5 2.3"/>',
        "mask": '<path d="M12 4c4.5 0 8 2.5 7.5 7S16 20 11 20 4 15.5 4.5 11 7.5 4 12 4z"/>'
        '<path d="M8 15l7.5-7.5M6.5 11.5l4-4M12 17l5-5"/>',
        "plus": '<path d="M12 5v14M5 12h14" stroke-width="2.2"/>',
        "minus": '<path d="M5 12h14" stroke-width="2.2"/>',
        "check": '<path d="M4.5 12.5l5 5L19.5 7" stroke-width="2.1"/>',
        "undo": '<path d="M8.5 5L4 9.5 8.5 14"/><path d="M4.5 9.5H14a5.5 5.5 0 010 11h-3.5"/>',
        "redo": '<path d="M15.5 5L20 9.5 15.5 14"/><path d="M19.5 9.5H10a5.5 5.5 0 000 11h3.5"/>',
        "add": '<circle cx="12" cy="12" r="8.5"/><path d="M12 8v8M8 12h8"/>',
        "delete": '<path d="M4.5 7h15M9.5 7V4.5h5V7M6.5 7l1 13h9l1-13M10 11v5.5M14 11v5.5"/>',
        "next": '<path d="M5 6l6 6-6 6M12.5 6l6 6-6 6"/>',
        "eye": '<path d="M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12z"/>'
        '<circle cx="12" cy="12" r="2.8"/>',
        "eye-off": '<path d="M4.5 8.8A15 15 0 002.5 12S6 18.5 12 18.5c1.8 0 3.4-.6 4.8-1.4M9 6c1-.3 2-.5 3-.5 6 0 '
        '9.5 6.5 9.5 6.5a15 15 0 01-2.4 3.2M4 4l16 16"/>',
        "lock": '<rect x="5.5" y="10.5" width="13" height="9.5" rx="1.5"/><path d="M8.5 10.5V8a3.5 3.5 0 017 0v2.5"/>',
        "unlock": '<rect x="5.5" y="10.5" width="13" height="9.5" rx="1.5"/>'
        '<path d="M8.5 10.5V7a3.5 3.5 0 016.7-1.3"/>',
        "propagate": '<path d="M6 9.5h12M6 12h12M6 14.5h12"/><path d="M9 5.5L12 2.5l3 3M9 18.5l3 3 3-3"/>',
        "refine": '<path d="M4 20l9.5-9.5M11 8l5 5"/><path d="M17.5 3v5M15 5.5h5M20 12.5v3M18.5 14h3"/>',
        "cancel": '<path d="M6 6l12 12M18 6L6 18" stroke-width="2"/>',
        "copy": '<rect x="8.5" y="8.5" width="11.5" height="11.5" rx="1.5"/>'
        '<path d="M15.5 8.5V5.5A1.5 1.5 0 0014 4H5.5A1.5 1.5 0 004 5.5V14a1.5 1.5 0 001.5 1.5h3"/>',
        "cube": '<path d="M12 2.8l8 4.4v9.4l-8 4.6-8-4.6V7.2z"/><path d="M4.2 7.3L12 11.7l7.8-4.4M12 11.7V21"/>',
        "save": '<path d="M12 3.5v11M7.5 10.5L12 15l4.5-4.5"/><path d="M4 15.5v3A1.5 1.5 0 005.5 20h13a1.5 1.5 0 '
        '001.5-1.5v-3"/>',
        "session": '<path d="M6 3.5h8.5L19 8v12.5H6z"/><path d="M14 3.8V8.5h4.7M9 12.5h6.5M9 16h4.5"/>',
        "open": '<path d="M3.5 18.5V6A1.5 1.5 0 015 4.5h4.5l2 2.5H18A1.5 1.5 0 0119.5 8.5V10"/>'
        '<path d="M3.5 18.5L6.5 10h15.5l-3 8.5z"/>',
        "download": '<path d="M12 3.5V15M7.5 10.5L12 15l4.5-4.5M5 19.5h14"/>',
        "info": '<circle cx="12" cy="12" r="8.5"/><path d="M12 11.2v5"/>' + _DOT.format(x=12, y=7.8, r=1.2),
        "warn": '<path d="M12 3.8L21.5 20h-19z"/><path d="M12 10v4.5"/>' + _DOT.format(x=12, y=17.1, r=1.2),
        "error": '<path d="M8.5 3.5h7l5 5v7l-5 5h-7l-5-5v-7z"/><path d="M12 7.8v5"/>'
        + _DOT.format(x=12, y=16.1, r=1.2),
        "options": '<path d="M4 7.5h8M17.5 7.5H20M4 16.5h2.5M12 16.5h8"/><circle cx="14.7" cy="7.5" r="2.6"/>'
        '<circle cx="9.3" cy="16.5" r="2.6"/>',
        "jump": '<circle cx="12" cy="12" r="3"/><path d="M12 3v4M12 17v4M3 12h4M17 12h4"/>',
    }
)
#: Faint on dark and on light.
_DISABLED = QColor(127, 127, 127, 140)
_SIZES = (16, 18, 20, 24, 32)


@lru_cache(maxsize=512)
def _drawn(name: str, rgba: int, side: int) -> QPixmap:
    ink = QColor.fromRgba(rgba)
    body = _FRAME.replace("{body}", ICONS[name]).replace("{ink}", ink.name())
    picture = QPixmap(side, side)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setOpacity(ink.alphaF())
    QSvgRenderer(QByteArray(body.encode())).render(painter, QRectF(0, 0, side, side))
    painter.end()
    return picture


def pixmap(name: str, ink: QColor, side: int = 18) -> QPixmap:
    """Draw one icon.

    Parameters
    ----------
    name : str
        A key of `ICONS`.
    ink : QColor
    side : int
        In pixels.

    Returns
    -------
    QPixmap
        Transparent around the strokes.

    Raises
    ------
    KeyError
        If there is no icon of that name.
    """
    return _drawn(name, ink.rgba(), side)


def icon(name: str, ink: QColor) -> QIcon:
    """Make a button's icon, crisp at the usual sizes and at twice them, faint where the button is disabled.

    Parameters
    ----------
    name : str
        A key of `ICONS`.
    ink : QColor

    Returns
    -------
    QIcon

    Raises
    ------
    KeyError
        If there is no icon of that name.
    """
    made = QIcon()
    for side in (*_SIZES, *(2 * side for side in _SIZES[-2:])):
        made.addPixmap(_drawn(name, ink.rgba(), side), QIcon.Mode.Normal)
        made.addPixmap(_drawn(name, _DISABLED.rgba(), side), QIcon.Mode.Disabled)
    return made


def swatch(color_rgb: tuple[float, float, float], side: int = 16) -> QIcon:
    """Make a rounded square of one colour.

    Parameters
    ----------
    color_rgb : tuple of float
        In 0..1.
    side : int
        In pixels.

    Returns
    -------
    QIcon
    """
    picture = QPixmap(QSize(side, side))
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QColor(127, 127, 127, 160))
    painter.setBrush(QColor.fromRgbF(*color_rgb))
    painter.drawRoundedRect(QRectF(1.5, 1.5, side - 3, side - 3), 3, 3)
    painter.end()
    return QIcon(picture)
