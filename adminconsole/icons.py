# ruff: noqa: E501
"""The console's own icons, 24 by 24, stroked in the text's colour: `{% icon "users" %}` writes one inline."""

from __future__ import annotations

ICONS: dict[str, str] = {
    # places
    "home": '<path d="M4 20V10l8-6 8 6v10z"/><path d="M10 20v-6h4v6"/>',
    "users": '<circle cx="9" cy="8" r="3.5"/><path d="M2.5 20c0-3.6 2.6-6 6.5-6s6.5 2.4 6.5 6"/>'
    '<path d="M15.5 4.8a3.5 3.5 0 0 1 0 6.4M18 14.6c2.2.8 3.5 2.8 3.5 5.4"/>',
    "user": '<circle cx="12" cy="8" r="4"/><path d="M4.5 20.5c0-4 3-6.5 7.5-6.5s7.5 2.5 7.5 6.5"/>',
    "user-plus": '<circle cx="10" cy="8" r="4"/><path d="M2.5 20.5c0-4 3-6.5 7.5-6.5 1.5 0 2.8.3 4 .8M18.5 15v6M15.5 18h6"/>',
    "group": '<circle cx="12" cy="9" r="3.2"/><path d="M6.5 20c0-3.2 2.2-5.2 5.5-5.2s5.5 2 5.5 5.2"/>'
    '<path d="M6.2 11.6a2.5 2.5 0 1 1 .9-4.8M17.8 11.6a2.5 2.5 0 1 0-.9-4.8M2 18c0-2 .9-3.4 2.5-4M22 18c0-2-.9-3.4-2.5-4"/>',
    "session": '<rect x="3" y="4" width="13" height="10" rx="1.5"/><path d="M7 18h5M9.5 14v4"/>'
    '<rect x="17" y="9" width="4.5" height="11" rx="1.2"/>',
    "settings": '<path d="M4 7h9M19 7h1M4 17h1M11 17h9"/><circle cx="16" cy="7" r="2.5"/><circle cx="8" cy="17" r="2.5"/>',
    "audit": '<path d="M6 3h9l4 4v14H6z"/><path d="M14.5 3v4.5H19M9 12h6M9 16h6"/>',
    "server": '<rect x="3.5" y="4" width="17" height="7" rx="1.5"/><rect x="3.5" y="13" width="17" height="7" rx="1.5"/>'
    '<path d="M7 7.5h.01M7 16.5h.01M11 7.5h6M11 16.5h6"/>',
    "database": '<ellipse cx="12" cy="5.5" rx="7.5" ry="2.8"/><path d="M4.5 5.5v13c0 1.5 3.4 2.8 7.5 2.8s7.5-1.3 7.5-2.8v-13"/>'
    '<path d="M4.5 12c0 1.5 3.4 2.8 7.5 2.8s7.5-1.3 7.5-2.8"/>',
    "globe": '<circle cx="12" cy="12" r="9"/><path d="M3 12h18M12 3c2.7 2.6 4 5.6 4 9s-1.3 6.4-4 9c-2.7-2.6-4-5.6-4-9s1.3-6.4 4-9z"/>',
    "shield": '<path d="M12 3l7.5 2.8v5.7c0 4.5-3 7.9-7.5 9.5-4.5-1.6-7.5-5-7.5-9.5V5.8z"/><path d="M8.8 12l2.2 2.2 4.2-4.4"/>',
    "key": '<circle cx="8" cy="15.5" r="4.5"/><path d="M11.3 12.3L20 3.5M16 7.5l3 3"/>',
    "certificate": '<path d="M12 17H4V4h16v7"/><path d="M8 8.5h8M8 12.5h4"/><circle cx="17" cy="16" r="3"/><path d="M15.3 18.5V22l1.7-1 1.7 1v-3.5"/>',
    "room": '<path d="M3 5h12v9H8l-3.5 3V14H3z"/><path d="M18 9h3v8h-1.5v2.5L16.5 17H11"/>',
    "heart-pulse": '<path d="M3 12h4l2.5-6 4 13 2.5-7h5"/>',
    "box": '<path d="M12 3l8 4.5v9L12 21l-8-4.5v-9z"/><path d="M4 7.5l8 4.5 8-4.5M12 12v9"/>',
    "flame": '<path d="M12 21c-4 0-6.5-2.5-6.5-6 0-4 4-5.5 4.5-10.5 3.5 1.5 8.5 5.5 8.5 10.5 0 3.5-2.5 6-6.5 6z"/>',
    "list": '<path d="M9 6h11M9 12h11M9 18h11M4.5 6h.01M4.5 12h.01M4.5 18h.01"/>',
    # doing
    "plus": '<path d="M12 5v14M5 12h14"/>',
    "minus": '<path d="M5 12h14"/>',
    "search": '<circle cx="11" cy="11" r="6.5"/><path d="M16 16l4.5 4.5"/>',
    "filter": '<path d="M3.5 5h17L14 12.5V19l-4 1.5v-8z"/>',
    "menu": '<path d="M4 6.5h16M4 12h16M4 17.5h16"/>',
    "close": '<path d="M6 6l12 12M18 6L6 18"/>',
    "check": '<path d="M5 12.5l4.5 4.5L19 7.5"/>',
    "edit": '<path d="M4 20l1-4.5L16.5 4 20 7.5 8.5 19z"/><path d="M14 6.5l3.5 3.5"/>',
    "trash": '<path d="M4 7h16M9 7V4h6v3M6 7l1 13.5h10L18 7M10 11v5.5M14 11v5.5"/>',
    "lock": '<rect x="5" y="10.5" width="14" height="10" rx="1.8"/><path d="M8 10.5V7.5a4 4 0 0 1 8 0v3M12 14.5v2"/>',
    "unlock": '<rect x="5" y="10.5" width="14" height="10" rx="1.8"/><path d="M8 10.5V7.5a4 4 0 0 1 7.7-1.5M12 14.5v2"/>',
    "copy": '<rect x="8.5" y="8.5" width="12" height="12" rx="1.8"/><path d="M15.5 8.5V5.3c0-1-.8-1.8-1.8-1.8H5.3c-1 0-1.8.8-1.8 1.8v8.4c0 1 .8 1.8 1.8 1.8h3.2"/>',
    "refresh": '<path d="M19.5 9A8 8 0 0 0 5 7.5L3.5 9M3.5 4.5V9H8M4.5 15A8 8 0 0 0 19 16.5l1.5-1.5M20.5 19.5V15H16"/>',
    "download": '<path d="M12 4v11M7.5 11L12 15.5l4.5-4.5M4.5 20h15"/>',
    "upload": '<path d="M12 15.5V4.5M7.5 8.5L12 4l4.5 4.5M4.5 20h15"/>',
    "external": '<path d="M13.5 4H20v6.5M20 4l-9 9M10 5H4v15h15v-6"/>',
    "logout": '<path d="M10 4H4.5v16H10M9.5 12H20.5M16 7.5l4.5 4.5-4.5 4.5"/>',
    "login": '<path d="M14 4h5.5v16H14M3.5 12h11M10 7.5l4.5 4.5-4.5 4.5"/>',
    "message": '<path d="M4 5h16v11.5h-8.5L7 20.5v-4H4z"/><path d="M8 9.5h8M8 12.5h5"/>',
    "send": '<path d="M20.5 3.5L3.5 10.5l6.5 3.5 3.5 6.5z"/><path d="M10 14l5-5"/>',
    "mail": '<rect x="3.5" y="5.5" width="17" height="13" rx="1.8"/><path d="M4 7l8 6 8-6"/>',
    "power": '<path d="M12 3.5V12M7 6.5a8 8 0 1 0 10 0"/>',
    "play": '<path d="M7 4.5v15l12-7.5z"/>',
    "pause": '<path d="M8 5v14M16 5v14"/>',
    "link": '<path d="M10 14.5a4 4 0 0 0 5.7 0l3.6-3.6a4 4 0 0 0-5.7-5.7L12.3 6.5"/><path d="M14 9.5a4 4 0 0 0-5.7 0l-3.6 3.6a4 4 0 0 0 5.7 5.7l1.3-1.3"/>',
    "share": '<circle cx="6" cy="12" r="2.5"/><circle cx="18" cy="5.5" r="2.5"/><circle cx="18" cy="18.5" r="2.5"/><path d="M8.2 10.8l7.6-4.1M8.2 13.2l7.6 4.1"/>',
    "undo": '<path d="M8.5 5L4 9.5 8.5 14"/><path d="M4 9.5h10a5.5 5.5 0 0 1 0 11h-4"/>',
    # saying
    "info": '<circle cx="12" cy="12" r="9"/><path d="M12 11v5.5M12 7.5h.01"/>',
    "help": '<circle cx="12" cy="12" r="9"/><path d="M9.3 9.3a2.8 2.8 0 1 1 4.2 2.4c-1 .6-1.5 1.1-1.5 2.3M12 17h.01"/>',
    "warning": '<path d="M12 4L2.8 20h18.4z"/><path d="M12 10v4.5M12 17.3h.01"/>',
    "error": '<path d="M8.3 3h7.4L21 8.3v7.4L15.7 21H8.3L3 15.7V8.3z"/><path d="M12 7.5v5.5M12 16.3h.01"/>',
    "success": '<circle cx="12" cy="12" r="9"/><path d="M8 12.3l2.8 2.8L16 9.5"/>',
    "clock": '<circle cx="12" cy="12" r="9"/><path d="M12 7v5.5l3.5 2"/>',
    "calendar": '<rect x="4" y="5.5" width="16" height="15" rx="1.8"/><path d="M4 10h16M8.5 3v4M15.5 3v4"/>',
    "eye": '<path d="M2.5 12C5 7.5 8.2 5.5 12 5.5s7 2 9.5 6.5c-2.5 4.5-5.7 6.5-9.5 6.5S5 16.5 2.5 12z"/><circle cx="12" cy="12" r="3"/>',
    "eye-off": '<path d="M9.5 5.8c.8-.2 1.6-.3 2.5-.3 3.8 0 7 2 9.5 6.5-.8 1.5-1.7 2.7-2.7 3.6M15.5 17.8c-1.1.5-2.3.7-3.5.7-3.8 0-7-2-9.5-6.5 1-1.8 2.2-3.2 3.5-4.3"/><path d="M10 10a3 3 0 0 0 4.1 4.2M3.5 3.5l17 17"/>',
    "sun": '<circle cx="12" cy="12" r="4"/><path d="M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M18.7 5.3l-1.4 1.4M6.7 17.3l-1.4 1.4"/>',
    "moon": '<path d="M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z"/>',
    "contrast": '<circle cx="12" cy="12" r="9"/><path d="M12 3v18" /><path d="M12 3a9 9 0 0 1 0 18z" fill="currentColor"/>',
    "language": '<path d="M3.5 6h10M8.5 3.5V6M11.5 6c-.8 3.8-3.5 7-7.5 9M6 9.5c1.3 2.5 3.2 4.4 5.5 5.5M11.5 20.5l4.5-10 4.5 10M13 17.3h6"/>',
    "keyboard": '<rect x="2.5" y="6" width="19" height="12" rx="1.8"/><path d="M6 10h.01M10 10h.01M14 10h.01M18 10h.01M8 14h8"/>',
    "star": '<path d="M12 3.5l2.6 5.5 6 .8-4.4 4.2 1.1 6-5.3-2.9L6.7 20l1.1-6-4.4-4.2 6-.8z"/>',
    "inbox": '<path d="M3.5 13L6.5 5h11l3 8v6.5h-17z"/><path d="M3.5 13H8.5l1.5 3h4l1.5-3h5"/>',
    "dot": '<circle cx="12" cy="12" r="4" fill="currentColor"/>',
    # pointing
    "chevron-right": '<path d="M9.5 5.5L16 12l-6.5 6.5"/>',
    "chevron-left": '<path d="M14.5 5.5L8 12l6.5 6.5"/>',
    "chevron-down": '<path d="M5.5 9.5L12 16l6.5-6.5"/>',
    "arrow-right": '<path d="M4.5 12h15M13.5 6l6 6-6 6"/>',
    "arrow-left": '<path d="M19.5 12h-15M10.5 6l-6 6 6 6"/>',
    "up": '<path d="M12 19V5.5M6.5 11L12 5.5l5.5 5.5"/>',
    "down": '<path d="M12 5v13.5M6.5 13L12 18.5l5.5-5.5"/>',
    "sort": '<path d="M8 10l4-4.5 4 4.5M8 14l4 4.5 4-4.5"/>',
    "more": '<path d="M5.5 12h.01M12 12h.01M18.5 12h.01"/>',
}

MARK = (
    '<svg class="mark" viewBox="0 0 32 32" width="{0}" height="{0}" aria-hidden="true" focusable="false">'
    '<path class="mark-house" d="M14.3 2.6a3 3 0 0 1 3.4 0l11 7.7A3 3 0 0 1 30 12.8V26a4 4 0 0 1-4 4H6a4 4 0 0 1-4-4V12.8a3 3 0 0 1 1.3-2.5z"/>'
    '<path class="mark-flame" d="M15.1 9.2c-.3 4.7-5.8 6.4-5.8 11.7 0 3.7 2.8 6.3 6.7 6.3s6.7-2.6 6.7-6.3c0-3.3-1.7-5.8-3.3-7.4-.2 1.4-.7 2.4-1.6 3.1.2-2.9-.8-5.6-2.7-7.4z"/>'
    '<path class="mark-ember" d="M16.2 18.5c-.2 2-2.6 2.8-2.6 5 0 1.5 1 2.5 2.5 2.5s2.5-1 2.5-2.5c0-2-1.2-3.6-2.4-5z"/></svg>'
)
"""The product's mark as a format string of its size: a house with a fire in it. static/img/favicon.svg is the same drawing."""
