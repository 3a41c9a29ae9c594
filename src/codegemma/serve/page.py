# SPDX-License-Identifier: Apache-2.0
"""The playground's files as built from `web/`, which ship in the package and need no network."""

import mimetypes
from pathlib import Path
from typing import Final

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

WEB_FOLDER: Final = Path(__file__).parent / "web"


class PageFiles(StaticFiles):
    """Static files: those with a hash in their name may be kept for ever, others never."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with a file."""
        response = await super().get_response(path, scope)
        is_hashed = path.replace("\\", "/").startswith("assets/")
        caching = "public, max-age=31536000, immutable" if is_hashed else "no-cache"
        response.headers.setdefault("Cache-Control", caching)
        return response


def page_files() -> PageFiles:
    """Make the application that answers with the page's files."""
    # Windows may call scripts text/plain, which a browser then refuses to run.
    mimetypes.add_type("text/javascript", ".js")
    return PageFiles(directory=WEB_FOLDER, html=True)
