"""`/` on each host: where one is, and what to open next. The real pages come with the page kit."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from shared_apps.core.api import ANYONE
from shared_apps.core.context import InstitutionContext


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    place = request.institution
    context = {
        "place": place if isinstance(place, InstitutionContext) else None,
        "platform_domain": settings.PLATFORM_DOMAIN,
        "port": f":{request.META['SERVER_PORT']}" if request.META.get("SERVER_PORT") not in ("80", "443") else "",
    }
    return render(request, "landing.html", context)


landing.permission = ANYONE
