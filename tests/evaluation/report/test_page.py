from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchvision.transforms.functional import to_pil_image

pytest.importorskip("matplotlib")

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation import Monitor, compare, evaluate
from super_selfish.evaluation.report import answers, course, neighbourhood, write_report
from super_selfish.evaluation.report.record import find_record
from super_selfish.evaluation.sheets import new_figure
from super_selfish.models import CombinedNet
from super_selfish.supervisors import (
    SUPERVISORS,
    LabelSupervisor,
    RotateNetSupervisor,
    Supervisor,
)
from super_selfish.training.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint

Backbones = Callable[..., nn.Module]
FEW = 2  # images of which a page is made quickly, without a map of them
VOID = {"meta", "img"}
FIRST = ["summary", "evaluation", "labels", "views", "answers", "neighbours", "map"]
SECTIONS = [*FIRST, "next", "course", "settings"]


@pytest.fixture(autouse=True)
def _little_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves are empty, and sheets of few cells: one takes longer to draw than all words."""
    monkeypatch.setattr(course, "plot_curves", lambda *_, **__: new_figure(1, 1))
    monkeypatch.setattr(answers, "_VIEWED", 1)
    monkeypatch.setattr(neighbourhood, "_QUERIES", 1)
    monkeypatch.setattr(neighbourhood, "_NEIGHBOURS", 2)


class Page(HTMLParser):
    """Reads a page strictly: every tag is closed by its own, ids are unique."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.alts: list[str] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self.open, self.open
        assert len(set(self.ids)) == len(self.ids)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            {"id": self.ids, "href": self.links, "src": self.sources, "alt": self.alts}.get(
                name, []
            ).append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def train(
    images: Any, backbone: nn.Module, name: Path | None, algorithm: str = "rotate", **options: Any
) -> Any:
    torch.manual_seed(0)
    supervisor = SUPERVISORS[algorithm](images, backbone=backbone, **options)
    supervisor.supervise(epochs=2, batch_size=8, name=name, progress=False)
    return supervisor


def test_a_page_is_whole_and_needs_nothing_beside_it(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    supervisor = train((images, torch.arange(22) % 2), tiny_backbone(), tmp_path / "run")
    written = supervisor.report(tmp_path / "run")
    assert written == tmp_path / "run.html"
    page = Page(written)
    assert page.ids == SECTIONS
    assert page.links == [f"#{anchor}" for anchor in SECTIONS]
    assert all(source.startswith("data:image/") for source in page.sources)
    assert len(page.sources) > 15 and len(page.alts) == len(page.sources) and all(page.alts)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "url(" not in written.read_text() and "@import" not in written.read_text()
    assert not list(tmp_path.glob("*.tmp"))


def test_it_tells_the_run_and_its_settings(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = train(images, tiny_backbone(), None, rotations=(0, 180))
    text = Page(supervisor.report(tmp_path / "run", most_images=FEW)).text
    assert "RotateNet" in text and "Gidaris, Singh, Komodakis, 2018" in text
    assert "Trained for 2 epochs (6 steps in all)" in text
    assert "All images could be read." in text
    for setting in ("rotations (0, 180)", "batch_size 8", "optimizer Adam", "images 22"):
        assert setting in text, setting
    tensors = sum(p.requires_grad for p in supervisor.parameters())
    supervisor = train(images, tiny_backbone(), tmp_path / "stored")
    text = Page(supervisor.report(tmp_path / "stored", most_images=FEW)).text
    assert "lr_scheduler constant" in text and "gamma" not in text
    assert f"parameter tensors that train {tensors}" in text and "layers.0.weight" not in text
    assert "32 \N{MULTIPLICATION SIGN} 32 pixels" in text and torch.__version__ in text
    assert "TinyBackbone" in text


def test_names_from_outside_are_escaped(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    folder = tmp_path / "<b>data & more"
    for number, image in enumerate(images):
        place = folder / f"<i>class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        to_pil_image(image).save(place / f"{number}.png")
    supervisor = train(str(folder), tiny_backbone(), None, image_size=32)
    written = supervisor.report(
        tmp_path / "run", most_images=FEW, title="<script>alert(1)</script>"
    )
    page = Page(written)
    assert not {"script", "b", "i"} & set(page.tags)
    assert str(folder) in page.text and "<i>class0" in page.text
    assert "<script>alert(1)</script>" in page.text


def test_a_supervisor_that_was_loaded_tells_the_run_of_its_checkpoint(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    train(images, tiny_backbone(), tmp_path / "run")
    loaded = RotateNetSupervisor(backbone=tiny_backbone()).load(tmp_path / "run")
    page = Page(loaded.report(tmp_path / "run", most_images=FEW))
    assert page.ids == SECTIONS
    assert "Trained for 2 epochs (6 steps in all)" in page.text
    assert "optimizer Adam" in page.text and "Tensor of shape [22, 3, 32, 32]" in page.text
    assert page.text.count("There are no images") == 4
    assert loaded.source is None


def test_a_supervisor_that_was_loaded_can_be_lent_images(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    train(images, tiny_backbone(), tmp_path / "run")
    loaded = RotateNetSupervisor(backbone=tiny_backbone()).load(tmp_path / "run")
    page = Page(loaded.report(tmp_path / "run", most_images=FEW, images=images))
    assert "There are no images" not in page.text and len(page.sources) > 12
    assert loaded.source is None


def test_images_that_are_not_those_of_the_training_are_not_asked_for_by_number(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    train(images, tiny_backbone(), tmp_path / "run", "instance")
    loaded = SUPERVISORS["instance"](backbone=tiny_backbone()).load(tmp_path / "run")
    assert (
        "by their number"
        in Page(loaded.report(tmp_path / "run", most_images=FEW, images=images[:14])).text
    )
    assert (
        "by their number"
        not in Page(loaded.report(tmp_path / "run", most_images=FEW, images=images)).text
    )


def test_other_weights_than_those_of_the_checkpoint_have_no_record(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    train(images, tiny_backbone(), tmp_path / "run")
    fresh = RotateNetSupervisor(images, backbone=tiny_backbone())
    assert find_record(fresh, tmp_path / "run") is None
    assert (
        "There is no record of the training"
        in Page(fresh.report(tmp_path / "run", most_images=FEW)).text
    )


def test_checkpoints_of_before_provenance_was_kept_are_told_as_far_as_they_go(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    train(images, tiny_backbone(), tmp_path / "run")
    state = read_checkpoint(checkpoint_path(tmp_path / "run"))
    del state["provenance"]
    write_checkpoint(checkpoint_path(tmp_path / "run"), state)
    loaded = RotateNetSupervisor(backbone=tiny_backbone()).load(tmp_path / "run")
    text = Page(loaded.report(tmp_path / "run", most_images=FEW)).text
    assert "Trained for 2 epochs in" in text and "images 22" in text


@pytest.mark.parametrize("algorithm", ["bigan", "cpc"])
def test_algorithms_of_many_views_and_of_several_players_have_pages(
    algorithm: str, images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = SUPERVISORS[algorithm](images, backbone=tiny_backbone())
    supervisor.supervise(epochs=1, batch_size=8, name=None, progress=False)
    assert Page(supervisor.report(tmp_path / "run", most_images=FEW)).ids == SECTIONS


def test_a_supervisor_of_ones_own_has_a_page(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    def collate(samples: list[Any]) -> Any:
        return torch.stack([torch.as_tensor(sample[0]) for sample in samples]), torch.zeros(1)

    network = CombinedNet(tiny_backbone(), nn.Identity())
    supervisor = Supervisor(network, images, nn.MSELoss(), collate)
    text = Page(supervisor.report(tmp_path / "run", most_images=FEW)).text
    assert text.count("A function of your own makes the batches") == 2


def test_an_evaluation_brings_its_table_and_its_confusion_matrix(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    labelled = (images, torch.arange(22) % 2)
    supervisor = train(images, tiny_backbone(), None)
    protocols = ("knn", "1-per-class", "5-per-class")
    found = evaluate(supervisor, labelled, labelled, protocols=protocols)
    page = Page(supervisor.report(tmp_path / "run", most_images=FEW, evaluation=found))
    assert page.ids == SECTIONS
    assert any("Confusion" in alt for alt in page.alts)
    assert any(alt.startswith("Curves of what each network reaches") for alt in page.alts)
    assert f"knn {found.intervals['difference']['knn']}" in page.text
    assert "Labels saved, beside untrained: " in page.text
    assert "Measure it: e = evaluate" not in page.text


def test_without_an_evaluation_the_page_says_how_to_know_whether_it_helped(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = train(images, tiny_backbone(), None)
    remarks = ["<3> of 4 images are known again."]
    text = Page(supervisor.report(tmp_path / "run", most_images=FEW, remarks=remarks)).text
    assert "Nobody knows yet: no labelled images were evaluated. <3> of 4 images are" in text
    assert "22 images of 32 \N{MULTIPLICATION SIGN} 32 pixels, 3 channels: Tensor of shape" in text
    assert "Judged without labels. " in text
    assert "That needs labels of some images, and an evaluation with few of them: eval" in text
    assert "Measure it: e = evaluate(supervisor, train, test" in text


def test_without_matplotlib_the_error_says_what_to_install(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = RotateNetSupervisor(images, backbone=tiny_backbone())
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install super-selfish\[plots\]"):
        supervisor.report(tmp_path / "run", most_images=FEW)
    assert not (tmp_path / "run.html").exists()


def test_wrong_arguments_are_refused(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = RotateNetSupervisor(images, backbone=tiny_backbone())
    with pytest.raises(ValueError, match="most_images must be at least 1, got 0"):
        supervisor.report(tmp_path / "run", most_images=0)
    with pytest.raises(TypeError, match="evaluation must be the Evaluation of a call, got dict"):
        supervisor.report(tmp_path / "run", most_images=FEW, evaluation={})
    with pytest.raises(TypeError, match="check must be the Check of a call, got list"):
        supervisor.report(tmp_path / "run", most_images=FEW, check=[])
    with pytest.raises(TypeError, match="comparison must be the Comparison of a call, got str"):
        supervisor.report(tmp_path / "run", most_images=FEW, comparison="moco")


def test_looking_changes_nothing(images: Tensor, tiny_backbone: Backbones, tmp_path: Path) -> None:
    supervisor = RotateNetSupervisor(images, backbone=tiny_backbone())
    before = {name: value.clone() for name, value in supervisor.state_dict().items()}
    write_report(supervisor, tmp_path / "run", most_images=FEW)
    assert supervisor.training
    assert all(torch.equal(value, before[n]) for n, value in supervisor.state_dict().items())


@pytest.mark.filterwarnings("ignore:left out")
def test_images_that_cannot_be_read_are_passed_over(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image in enumerate(images):
        to_pil_image(image).save(folder / f"{number:02}.png")
    for number in (0, 7, 21):
        (folder / f"{number:02}.png").write_bytes(b"no image")
    source = ImageSource(folder, on_error="skip")
    for algorithm in ("instance", "moco"):
        supervisor = train(source, tiny_backbone(), None, algorithm)
        page = Page(supervisor.report(tmp_path / algorithm, map_method="pca"))
        assert "3 images could not be read and were left out." in page.text
        assert "Among 19 of 22 images" in page.text
        assert "of the 4 answers below" in page.text


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_each_section_of_pictures_tells_which_channels_are_shown(
    channels: int, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    images = torch.randint(256, (12, channels, 32, 32), dtype=torch.uint8)
    supervisor = RotateNetSupervisor(images, tiny_backbone(channels))
    path = write_report(supervisor, tmp_path / "run", map_method="pca")
    told = {
        2: "Shown, in gray, is channel 1 of 2; the network sees both.",
        5: "Shown, as red, green and blue, are channels 1 to 3 of 5; the network sees all.",
    }
    sections = path.read_text(encoding="utf-8").split("<section")[1:]
    for anchor in ("views", "answers", "neighbours", "map"):
        section = next(part for part in sections if f'id="{anchor}"' in part)
        assert section.count("Shown, ") == section.count(told.get(channels, "Shown, "))
        assert section.count("Shown, ") == (1 if channels in told else 0)


def test_a_supervisor_that_learns_labels_has_a_page(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = LabelSupervisor(
        TensorDataset(images, torch.arange(22) % 2), backbone=tiny_backbone()
    )
    supervisor.supervise(epochs=2, batch_size=8, name=tmp_path / "run", progress=False)
    text = Page(supervisor.report(tmp_path / "run", most_images=FEW)).text
    assert "A row for each image" in text and "has no exhibit of its own" in text
    assert "images targets 0" in text and "images targets 1" in text
    loaded = LabelSupervisor(backbone=tiny_backbone()).load(tmp_path / "run")
    text = Page(loaded.report(tmp_path / "run", most_images=FEW, images=images)).text
    assert "The network learns from labels, and these images have none." in text


def test_settings_tell_the_images_of_the_training_and_those_that_were_lent(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    train(images, tiny_backbone(), tmp_path / "run")
    loaded = RotateNetSupervisor(backbone=tiny_backbone()).load(tmp_path / "run")
    for number, image in enumerate(images[:14]):
        place = tmp_path / "lent" / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        to_pil_image(image).save(place / f"{number}.png")
    lent = tmp_path / "lent"
    text = Page(loaded.report(tmp_path / "run", most_images=FEW, images=lent)).text
    assert "dataset Tensor of shape [22, 3, 32, 32] images 22" in text
    assert f"looked at {lent}, 14 images" in text and "classes 2" not in text


def test_what_an_optimizer_and_a_schedule_were_told_is_told(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    optimizer = partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-4, nesterov=True)
    for algorithm in ("rotate", "bigan"):  # one optimizer, and one a player
        supervisor = SUPERVISORS[algorithm](images, backbone=tiny_backbone())
        supervisor.supervise(
            lr=0.01,
            epochs=1,
            batch_size=8,
            name=None,
            optimizer=optimizer,
            lr_scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=7, gamma=0.5),
            progress=False,
        )
        text = Page(supervisor.report(tmp_path / algorithm, most_images=FEW)).text
        told = "momentum 0.9, dampening 0, weight_decay 0.0001, nesterov True"
        assert f"optimizer options {told} lr_scheduler options step_size 7, gamma 0.5" in text


def test_what_a_monitor_measured_comes_first_and_is_explained(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = RotateNetSupervisor(images, backbone=tiny_backbone())
    monitor = Monitor(images, torch.arange(22) % 2, every=1)
    supervisor.supervise(epochs=3, batch_size=8, name=None, monitor=monitor, progress=False)
    page = Page(supervisor.report(tmp_path / "run", most_images=FEW))
    curves = [alt.split(" over ")[0] for alt in page.alts if alt.startswith("Curve of ")]
    assert curves[0] == "Curve of the loss"
    assert curves.index("Curve of rankme") < curves.index("Curve of accuracy")
    assert curves[-1] == "Curve of images per second"
    assert page.text.count("Effective rank of the features. More is better") == 2  # table, curve


def test_the_loss_of_a_run_that_was_stopped_is_not_final(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = train(images, tiny_backbone(), None)
    assert "final loss" in Page(supervisor.report(tmp_path / "run", most_images=FEW)).text
    supervisor.run.epochs = 9
    text = Page(supervisor.report(tmp_path / "run", most_images=FEW)).text
    assert "loss so far" in text and "final loss" not in text


@pytest.mark.parametrize(("method", "name"), [("pca", "PCA"), (None, "t-SNE")])
def test_the_map_is_made_as_one_likes(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path, method: str | None, name: str
) -> None:
    pytest.importorskip("sklearn")
    supervisor = RotateNetSupervisor(images, backbone=tiny_backbone())
    page = Page(write_report(supervisor, tmp_path / "run", map_method=method))
    assert f"in two dimensions, by {name}." in page.text
    assert ("directions of the largest variance" in page.text) == (method == "pca")
    with pytest.raises(ValueError, match=r"map_method must be one of .*'umap'.*, got 'mds'"):
        write_report(supervisor, tmp_path / "run", map_method="mds")


@pytest.mark.filterwarnings("ignore:All 22 test images are among:UserWarning")
def test_a_comparison_brings_its_table_its_notes_and_its_figure(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    labelled = (images, torch.arange(22) % 2)
    found = compare(
        ["rotate", "moco"],
        labelled,
        labelled,
        epochs=1,
        backbone=tiny_backbone(),
        seeds=1,
        protocols=("knn",),
        path=None,
        progress=False,
    )
    supervisor = RotateNetSupervisor(images, backbone=tiny_backbone())
    page = Page(supervisor.report(tmp_path / "run", most_images=FEW, comparison=found))
    assert page.ids == [*SECTIONS[:-1], "comparison", "settings"]
    first = str(found).splitlines()
    for line in (*first[:4], *found.notes, found.conditions[1:]):
        assert " ".join(line.split()) in page.text
    assert any("Leaderboard" in alt for alt in page.alts)


def test_sheets_of_large_images_fit_the_page(
    tiny_backbone: Backbones,
    tmp_path: Path,
    generator: torch.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbourhood, "_NEIGHBOURS", 7)  # as many as ever, in one row
    large = torch.randint(256, (9, 3, 300, 200), generator=generator, dtype=torch.uint8)
    supervisor = RotateNetSupervisor(large, backbone=tiny_backbone())
    written = supervisor.report(tmp_path / "run")
    widths = [int(width) for width in re.findall(r' width="(\d+)"', written.read_text())]
    assert len(widths) == 2 and max(widths) <= 952  # views, neighbours; no map of nine images


def test_views_curves_and_few_steps_are_explained(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    supervisor = train(images, tiny_backbone(), None)
    written = supervisor.report(tmp_path / "run", most_images=FEW)
    text = Page(written).text
    assert "Black bars are what lies outside of an image" in text
    assert "A network that only guesses has 1.386." in text
    assert "The network has taken 6 steps only" in text
    # A small plot fits into its column of 18.5rem (296 pixels) and does not scroll.
    widths = [int(width) for width in re.findall(r"min-width:(\d+)px", written.read_text())]
    assert min(widths) <= 270
    uncropped = RotateNetSupervisor(images, backbone=tiny_backbone(), crop=False)
    text = Page(uncropped.report(tmp_path / "other", most_images=FEW)).text
    assert "Black bars" not in text
    supervisor.run.epoch = 34
    assert "steps only" not in Page(supervisor.report(tmp_path / "run", most_images=FEW)).text


def test_a_page_with_images_is_kept_from_one_without(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = train(images, tiny_backbone(), tmp_path / "run")
    supervisor.report(tmp_path / "run", most_images=FEW)
    loaded = SUPERVISORS["rotate"](backbone=tiny_backbone()).load(tmp_path / "run")
    with pytest.warns(UserWarning, match="showed images, which the new page cannot.* is kept as"):
        loaded.report(tmp_path / "run")
    pages = sorted(tmp_path.glob("run*.html"))
    assert len(pages) == 2
    assert ["Sheet of images" in page.read_text() for page in pages].count(True) == 1
    loaded.report(tmp_path / "run")  # no page with images is there any more: nothing is said
    loaded.report(tmp_path / "run", images=images, most_images=FEW)
    assert len(list(tmp_path.glob("run*.html"))) == 2
