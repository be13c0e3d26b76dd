"""Uploading to a hub that stands on this machine, and reading back what was uploaded."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch

from super_selfish.cli import main
from super_selfish.export import export_backbone, push_to_hub
from super_selfish.models import build_backbone

timm: Any = pytest.importorskip("timm", minversion="1.0.16", reason="older timm reads no folders")
hub: Any = pytest.importorskip("huggingface_hub")
pytest.importorskip("safetensors")
# huggingface_hub's own way of sending large files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")
TOKEN = "hf_" + "secret" * 6
COMMIT = "c" * 40
TEMPLATE = "HUGGINGFACE_CO_URL_TEMPLATE"


class Hub(ThreadingHTTPServer):
    """As much of the Hugging Face hub as one needs to upload a model and to read it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.is_private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}  # by their sum: what git-lfs keeps
        self.messages: list[str] = []
        self.asked: list[str] = []
        self.token = TOKEN

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what is written during a test is looked at."""

    def answer(self, content: Any, code: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self) -> None:
        body, path = self.body, urlsplit(self.path).path
        self.server.asked.append(f"POST {path}")
        if path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self.answer({"error": "Invalid credentials"}, 401)
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            is_new = name not in self.server.repositories
            self.server.repositories.setdefault(name, {})
            is_private = bool(asked.get("private")) or asked.get("visibility") == "private"
            self.server.is_private.setdefault(name, is_private)
            self.answer({"url": f"{self.server.address}/{name}"}, 200 if is_new else 409)
        elif match := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            files = json.loads(body)["files"]
            modes = {True: "lfs", False: "regular"}
            self.answer(
                {
                    "files": [
                        {
                            "path": file["path"],
                            "uploadMode": modes[file["path"].endswith(".safetensors")],
                            "shouldIgnore": False,
                        }
                        for file in files
                    ]
                }
            )
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                dict(each, actions={"upload": {"href": f"{self.server.address}/lfs/{each['oid']}"}})
                for each in json.loads(body)["objects"]
            ]
            self.answer({"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            self.commit(match[1], [json.loads(line) for line in body.splitlines()])
        else:
            self.answer({"error": path}, 404)

    def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        files = self.server.repositories[name]
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.server.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
        url = f"{self.server.address}/{name}/commit/{COMMIT}"
        self.answer({"success": True, "commitOid": COMMIT, "commitUrl": url, "hookOutput": ""})

    def do_PUT(self) -> None:
        body = self.body
        self.server.large[hashlib.sha256(body).hexdigest()] = body
        self.answer(b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append(f"{self.command} {path}")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/.*)?", path):
            name = match[1]
            if name not in self.server.repositories:
                return self.answer({"error": "Repository not found"}, 404)
            return self.answer(
                {"id": name, "private": self.server.is_private[name], "sha": COMMIT, "siblings": []}
            )
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        files = {} if match is None else self.server.repositories.get(match[1], {})
        if match is None or match[2] not in files:
            return self.answer(b"", 404, X_Error_Code="EntryNotFound")
        content = files[match[2]]
        return self.answer(
            content,
            ETag=f'"{hashlib.sha256(content).hexdigest()}"',
            X_Repo_Commit=COMMIT,
            Content_Length=str(len(content)),
        )


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that huggingface_hub is told to ask, as HF_ENDPOINT tells it before it is imported.

    The user's own token and cache are out of reach.
    """
    with Hub() as found:
        thread = Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        constants = hub.constants
        template = found.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        _ = hub.HfApi, hub.file_download  # imported when they are asked for
        for name, module in list(sys.modules.items()):  # older versions have copies in several
            if name.startswith("huggingface_hub."):
                for word, value in (("ENDPOINT", found.address), (TEMPLATE, template)):
                    if word in vars(module):
                        monkeypatch.setattr(module, word, value)
        for name in ("HF_HUB_CACHE", "HF_HOME"):
            monkeypatch.setattr(constants, name, str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        # By git-lfs instead, as where hf_xet is not installed: that asks servers of its own.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    backbone = build_backbone("timm/test_resnet", 4, (32, 32))
    place = tmp_path / "mine"
    return export_backbone(backbone, place, "timm-folder", image_size=32, in_channels=4)


def test_what_was_uploaded_is_read_by_name(
    server: Hub,
    folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (folder / ".env").write_text("a secret")
    (folder / "notes.txt").write_text("for me")
    caplog.set_level(logging.DEBUG)
    address = push_to_hub(folder, "me/mine", message="The first")
    assert address == f"{server.address}/me/mine/commit/{COMMIT}"
    assert server.is_private == {"me/mine": True} and server.messages == ["The first"]
    assert server.repositories["me/mine"] == {  # and nothing else of the folder
        name: (folder / name).read_bytes()
        for name in ("config.json", "model.safetensors", "README.md")
    }
    network = timm.create_model("hf-hub:me/mine", pretrained=True, cache_dir=tmp_path / "read")
    local = timm.create_model(f"local-dir:{folder}", pretrained=True)
    images = torch.rand(2, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(network.eval()(images), local.eval()(images))
    # The token went to the hub and nowhere else.
    said = capfd.readouterr()
    assert TOKEN not in said.out + said.err + caplog.text
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), file


@pytest.mark.slow
def test_a_program_without_this_library_reads_it(server: Hub, folder: Path, tmp_path: Path) -> None:
    push_to_hub(folder, "me/mine")
    code = (
        "import sys, timm, torch\n"
        "network = timm.create_model('hf-hub:me/mine', pretrained=True).eval()\n"
        "assert 'super_selfish' not in sys.modules\n"
        "torch.save(network(torch.ones(1, 4, 32, 32)).detach(), sys.argv[1])\n"
    )
    told = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "features.pt")],
        env=os.environ | told,
        cwd=tmp_path,
        check=True,
    )
    local = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        expected = local(torch.ones(1, 4, 32, 32))
    torch.testing.assert_close(torch.load(tmp_path / "features.pt", weights_only=True), expected)


def test_who_may_see_it_is_said(server: Hub, folder: Path) -> None:
    push_to_hub(folder, "me/open", private=False)
    assert server.is_private == {"me/open": False}
    with pytest.raises(ValueError, match=r"me/open is there already, for all to see: private=Fal"):
        push_to_hub(folder, "me/open")
    push_to_hub(folder, "me/open", private=False)
    assert len(server.messages) == 2


def test_whom_the_hub_does_not_know_is_told_how_to_say_it(
    server: Hub, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.token = "hf_another"
    with pytest.raises(
        PermissionError, match=r"not let you write me/mine \(401\): `hf auth login`"
    ):
        push_to_hub(folder, "me/mine")
    assert main(["push", str(folder), "me/mine"]) == 1
    said = capfd.readouterr()
    assert "HF_TOKEN" in said.err and TOKEN not in said.out + said.err
    assert not server.repositories


def test_the_command_line_pushes(
    server: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(folder), "group/mine", "--no-private", "--message", "Mine"]) == 0
    assert capsys.readouterr().out == f"{server.address}/group/mine/commit/{COMMIT}\n"
    assert server.is_private == {"group/mine": False} and server.messages == ["Mine"]


def test_what_is_no_such_folder_is_not_uploaded(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"holds no config\.json and model\.safetensors: write it"):
        push_to_hub(tmp_path, "me/mine")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'super-selfish\[hub\]'"):
        push_to_hub(folder, "me/mine")


def test_other_troubles_of_a_hub_are_passed_on(
    server: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answers, "commit", lambda self, *_: self.answer({"error": "full"}, 507))
    with pytest.raises(hub.utils.HfHubHTTPError, match="507"):
        push_to_hub(folder, "me/mine")
