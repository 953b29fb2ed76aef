"""How dates are written where Django's own way can be misread: settings.FORMAT_MODULE_PATH, a package per language."""
