"""``headrace run`` on real documents, with real Kafka and the local model.

The tests of this module follow one data directory through its life, in order.
"""

from __future__ import annotations

import random
import shutil
import zipfile
from pathlib import Path

import psutil
import pytest
from headrace_cli.opening import Needs, opened
from headrace_cli.output import Output
from headrace_cli.searching import collection_spec
from headrace_embedder.factory import build_provider
from headrace_embedder.settings import ProviderSettings

from headrace.messages import Stage
from headrace.process import load_settings
from headrace.qdrant import QdrantStore
from headrace.search import search
from tests.support.cli import headrace

EXAMPLES = Path(__file__).parents[2] / "examples" / "documents"
PHRASES = {
    "handbook/headrace.md": "what to do when the night is eight degrees below zero",
    "handbook/sluice-gates.md": "lubrication of the rack, mutton tallow and graphite",
    "handbook/visitors.html": "getting in with a wheelchair, the brass bell",
    "notes/opening-hours.txt": "on which days is the museum open",
    "notes/journal-1911.txt": "Der Bürgermeister schenkte uns zwölf Säcke Dünger",
    "notes/weavers-letter.txt": "sailcloth for the Baltic herring boats",
    "notes/price-list.txt": "the millstone loaf costs 6.50 €",
    "data/flow-readings.csv": "lowest reading at Heron Weir in litres per second",
    "data/inventory.json": "mill bill tempered by the blacksmith of Nether Alder",
    "data/events.jsonl": "regatta of the paper boats",
    "code/sluice.py": "close the gate when beavers clog the trash rack",
    "code/gauge.js": "warn when the copper float is stuck in its tube",
    "code/turbine.go": "electrical power of the Kaplan turbine",
    "code/Miller.java": "plans which volunteer works as miller on which day",
    "code/ledger.rs": "the miller keeps a sixteenth, nothing from the abbey",
    "code/float_valve.c": "passing otter triggers the eel ladder valve",
    "mail/stone-dressing.eml": "ten harps with four furrows each",
    "office/restoration-plan.docx": "the carpenter Philomena Krug",
    "office/guided-tour.pptx": "bowline on a bight called the sleeping swan",
    "office/grain-ledger.xlsx": "buckwheat, damp, dried in the kiln",
    "guide/visitor-guide.pdf": "apple wood cogs season above the kitchen stove",
    "guide/tales-of-the-mill.epub": "the cat Griselda purred for each sack",
}

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack") / "data"


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents") / "mill"
    shutil.copytree(EXAMPLES, folder)
    return folder


def test_every_document_is_indexed(data_dir: Path, documents: Path) -> None:
    answer = headrace("run", documents, "-c", "mill", "-d", data_dir)

    assert answer.value["failed"] == []
    assert answer.code == 0
    assert answer.value["accepted"] == len(PHRASES)
    assert answer.value["indexed"] == len(PHRASES)
    assert answer.value["unchanged"] == 0
    assert answer.value["dead_letters"] == 0
    assert answer.value["points"] == answer.value["chunks"] >= len(PHRASES)
    assert answer.value["stages"]["embedder"]["chunks"] == answer.value["chunks"]
    assert answer.value["tokens"] > answer.value["chunks"]
    assert answer.value["restarts"] == {}


async def test_a_phrase_of_each_document_is_found(data_dir: Path) -> None:
    missed: dict[str, list[str]] = {}
    provider = await build_provider(load_settings(ProviderSettings))
    async with opened(data_dir, Needs(store=True), Output(as_json=True)) as pipeline:
        store = QdrantStore.from_settings(pipeline.settings)
        try:
            await collection_spec(store, "mill")
            for document, phrase in PHRASES.items():
                vector = (await provider.embed([phrase], deadline=60))[0]
                hits = await search(store, "mill", vector, limit=3)
                found = [hit.key.document_id for hit in hits]
                if document not in found:
                    missed[document] = found
        finally:
            await store.close()
            await provider.close()

    assert missed == {}


def test_the_command_shows_where_a_hit_is(data_dir: Path) -> None:
    question = "what is a cog made of that breaks when something jams?"
    answer = headrace("search", question, "-c", "mill", "-k", "3", "-d", data_dir)

    assert answer.code == 0
    assert len(answer.value["hits"]) == 3
    best = answer.value["hits"][0]
    assert best["document"] == "guide/visitor-guide.pdf"
    assert best["page"] == 1  # where the chunk begins: small documents stay whole
    assert "apple wood" in best["text"]


def test_its_documents_are_listed_though_nothing_runs(data_dir: Path) -> None:
    answer = headrace("documents", "list", "--limit", "100", "-d", data_dir)

    listed = {each["name"]: each for each in answer.value["documents"]}
    assert set(listed) == set(PHRASES)
    assert {each["state"] for each in listed.values()} == {"indexed"}
    one = listed["handbook/visitors.html"]
    shown = headrace("documents", "show", one["id"], "-d", data_dir).value
    assert [each["stage"] for each in shown["timeline"]] == list(Stage)


def test_run_again_finds_everything_unchanged(data_dir: Path, documents: Path) -> None:
    answer = headrace("run", documents, "-c", "mill", "-d", data_dir)

    assert answer.code == 0
    assert answer.value["unchanged"] == len(PHRASES)
    assert answer.value["indexed"] == answer.value["chunks"] == 0
    assert answer.value["points"] >= len(PHRASES)


def test_only_what_changed_is_indexed_and_what_is_gone_is_deleted(
    data_dir: Path, documents: Path
) -> None:
    (documents / "notes" / "opening-hours.txt").write_text(
        "The mill is closed for good; the river moved away."
    )
    (documents / "mail" / "stone-dressing.eml").unlink()

    answer = headrace(
        "run", documents, "-c", "mill", "-d", data_dir, "--delete-missing"
    )

    assert answer.code == 0
    assert answer.value["indexed"] == 1
    assert answer.value["deleted"] == 1
    assert answer.value["unchanged"] == len(PHRASES) - 2
    found = headrace(
        "search", "furrows of the stones", "-c", "mill", "-k", "50", "-d", data_dir
    )
    ids = {hit["document"] for hit in found.value["hits"]}
    assert "mail/stone-dressing.eml" not in ids
    assert len(ids) == len(PHRASES) - 1


def test_broken_files_fail_with_reasons_and_the_others_go_on(
    data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "good.txt").write_text("The good one is about lavender fields.")
    (tmp_path / "noise.pdf").write_bytes(
        b"%PDF-1.7\n" + random.Random(1).randbytes(5000)
    )
    (tmp_path / "cut.docx").write_bytes(
        (EXAMPLES / "office" / "restoration-plan.docx").read_bytes()[:9000]
    )
    with zipfile.ZipFile(tmp_path / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", b"<w>" + b" " * 300_000_000)

    answer = headrace("run", tmp_path, "-c", "broken", "-d", data_dir)

    assert answer.code == 1
    assert answer.value["indexed"] == 1
    failed = {each["id"]: each for each in answer.value["failed"]}
    assert failed.keys() == {"noise.pdf", "cut.docx", "bomb.docx"}
    for each in failed.values():
        assert each["code"]
        assert each["message"]
        assert each["stage"] == "loader"
    assert answer.value["dead_letters"] == 3


def test_the_dead_letters_are_there_to_look_at(data_dir: Path) -> None:
    listed = headrace("dlq", "list", "-d", data_dir, "--collection", "broken")

    assert listed.code == 0
    letters = listed.value["dead_letters"]
    assert {each["document"] for each in letters} == {
        "noise.pdf",
        "cut.docx",
        "bomb.docx",
    }
    shown = headrace("dlq", "show", letters[0]["id"], "-d", data_dir)
    assert shown.value["value_base64"]
    dropped = headrace(
        "dlq", "drop", letters[0]["id"], "--reason", "hopeless", "-d", data_dir
    )
    assert dropped.value["dropped"] == [letters[0]["id"]]
    left = headrace("dlq", "list", "-d", data_dir).value["dead_letters"]
    assert len(left) == 2


def test_nothing_is_lost_twice_or_left_behind(data_dir: Path) -> None:
    answer = headrace("verify", "-d", data_dir)

    assert answer.value["findings"] == []
    assert answer.code == 0


def test_another_model_is_refused_before_anything_is_sent(
    data_dir: Path, documents: Path
) -> None:
    other = {"HEADRACE_EMBEDDING_MODEL": "other", "HEADRACE_EMBEDDING_DIMENSIONS": "8"}
    answer = headrace(
        *("run", documents, "-c", "mill", "-d", data_dir, "--provider", "hash"),
        env=other,
    )

    assert answer.code == 78
    error = answer.value["error"]
    assert "'mill' exists with other settings" in error["message"]
    assert "another collection" in error["message"]
    status = headrace("status", "-d", data_dir).value
    assert all(stage["lag"] == 0 for stage in status["stages"].values()), status


def test_an_unknown_collection_is_named_with_those_there_are(data_dir: Path) -> None:
    answer = headrace("search", "anything", "-c", "mil", "-d", data_dir)

    assert answer.code == 1
    assert answer.value["error"]["code"] == "collection_missing"
    assert "broken, mill" in answer.value["error"]["message"]


def test_no_process_of_a_run_is_left(data_dir: Path) -> None:
    """Each run above has ended; the directory is free and nothing uses it."""
    using = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if any(str(data_dir) in part for part in process.info["cmdline"] or ())
    ]
    assert using == []
