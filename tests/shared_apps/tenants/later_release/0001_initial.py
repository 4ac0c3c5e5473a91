from importlib import import_module

Migration = import_module("tenant_apps.school.migrations.0001_initial").Migration
