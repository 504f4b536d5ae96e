"""What the API answers; what a newer gateway adds is left out. Pure: no I/O."""

from __future__ import annotations

from pydantic import BaseModel


class Accepted(BaseModel):
    """What was accepted."""

    id: str
    version: int
    collection: str
    name: str
    created: bool


class Failure(BaseModel):
    """What went wrong with a document."""

    code: str
    message: str
    advice: str = ""
    retryable: bool = False


class Progress(BaseModel):
    """Chunks of the newest version."""

    chunks: int
    done: int
    failed: int


class Document(BaseModel):
    """A document in a list."""

    id: str
    collection: str
    name: str
    version: int
    state: str
    stage: str | None
    media_type: str
    size: int
    attributes: dict[str, str]
    import_job: str | None
    created_at: str
    updated_at: str
    deleted_at: str | None
    progress: Progress | None
    attempts: int
    error: Failure | None


class StageReport(BaseModel):
    """What one stage did."""

    stage: str
    state: str
    attempts: int
    waiting_s: float
    working_s: float
    chunks: int
    tokens: int
    at: str
    error: Failure | None


class DocumentDetail(Document):
    """A document with its history."""

    timeline: list[StageReport]


class DocumentPage(BaseModel):
    """Some documents, and the cursor of those after them."""

    documents: list[Document]
    next: str | None


class Produced(BaseModel):
    """A document that came by Kafka, not by the API; ``name`` is its producer's id."""

    id: str
    collection: str
    name: str
    state: str
    stage: str
    media_type: str
    source_uri: str
    attributes: dict[str, str]
    import_job: str | None
    created_at: str
    updated_at: str
    progress: Progress
    attempts: int
    error: Failure | None


class ProducedDetail(Produced):
    """One with its history."""

    timeline: list[StageReport]


class ProducedPage(BaseModel):
    """Some of them, and the cursor of those after them."""

    documents: list[Produced]
    next: str | None


class Hit(BaseModel):
    """A chunk that was found."""

    score: float
    text: str
    document: str
    name: str
    number: int
    page: int
    headings: list[str]
    section: str
    source_uri: str
    attributes: dict[str, str]


class Hits(BaseModel):
    """The nearest chunks, best first."""

    hits: list[Hit]


class ImportJob(BaseModel):
    """An import, and how far it is."""

    id: str
    collection: str
    created_at: str
    total: int
    done: bool
    counts: dict[str, int]


class ImportJobs(BaseModel):
    """Some imports, and the cursor of those after them."""

    imports: list[ImportJob]
    next: str | None


class ImportItem(BaseModel):
    """A line of an import; numbers begin at 1."""

    number: int
    name: str
    state: str
    document: str | None
    error: Failure | None


class ImportItems(BaseModel):
    """Some lines, and the number after which the next begin."""

    items: list[ImportItem]
    next: int | None


class Health(BaseModel):
    """Whether documents are accepted at this moment."""

    accepting: bool
    reason: str | None


class StageDepth(BaseModel):
    """What waits for a stage."""

    stage: str
    lane: str
    records: int
    partitions: dict[str, int]


class Queue(BaseModel):
    """What waits before documents are accepted, and after."""

    accepting: bool
    reason: str | None
    being_accepted: int
    accepting_limit: int
    outbox_age_s: float | None
    ahead_age_s: float
    ahead_limit_s: float
    depths: list[StageDepth]


class Working(BaseModel):
    """A process, and how much it works on."""

    worker: str
    stage: str
    documents: int
    heard_at: str


class WorkingList(BaseModel):
    """All that were heard of."""

    workers: list[Working]
