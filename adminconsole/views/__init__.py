"""The pages of the console, one module a section; each exports `urlpatterns`."""
