"""Posts.xml with the usual libraries: what a careful user would put together; a peer of ours.

datatrove moves documents from a reader over filters to Parquet; ElementTree reads the dump,
beautifulsoup4 takes text, ftfy mends it, presidio's patterns replace personal data (those of
addresses, telephones, IP addresses, cards, accounts and social security numbers; no model of
names), py3langid keeps English, and each pair has a hash. Runs with the interpreter of `peers`:
`python assembled.py Posts.xml FOLDER`.
"""

# mypy: ignore-errors
from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

LEAST_SCORE = 5


def read(path: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Id, question, answer, author and licence of every answer with enough votes."""
    questions: dict[str, str] = {}
    answers = []
    for _, row in ElementTree.iterparse(path):
        if row.tag == "row":
            if row.get("PostTypeId") == "1":
                questions[row.get("Id")] = row.get("Title"), row.get("Body")
            elif row.get("PostTypeId") == "2" and int(row.get("Score")) >= LEAST_SCORE:
                answers.append(dict(row.attrib))
        row.clear()
    for answer in answers:
        title, body = questions[answer["ParentId"]]
        yield answer["Id"], {
            "title": title, "question": body, "answer": answer["Body"],
            "author": answer.get("OwnerUserId", ""), "license": answer["ContentLicense"],
        }  # fmt: skip


def main(path: str, folder: str) -> None:
    """Run the pipeline in this process."""
    import ftfy
    import py3langid
    from bs4 import BeautifulSoup
    from datatrove.data import Document
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.base import PipelineStep
    from datatrove.pipeline.filters import LambdaFilter
    from datatrove.pipeline.writers import ParquetWriter
    from presidio_analyzer import predefined_recognizers as presidio

    kinds = ("Email", "Phone", "Ip", "CreditCard", "UsSsn", "Iban")
    recognizers = [getattr(presidio, f"{kind}Recognizer")() for kind in kinds]

    class Read(PipelineStep):
        name, type = "pairs of a dump", "READER"

        def run(self, data=None, rank=0, world_size=1):
            for identity, metadata in read(path):
                with self.track_time():
                    document = Document(text="", id=identity, metadata=metadata)
                yield document

    class Convert(PipelineStep):
        name, type = "HTML, mending, personal data, hash", "FORMAT"

        def run(self, data, rank=0, world_size=1):
            for document in data:
                own = document.metadata
                question = f"{own.pop('title')}\n{clean(own.pop('question'))}"
                own["input"], own["output"] = question, clean(own.pop("answer"))
                document.text = f"{own['input']}\n{own['output']}"
                own["hash"] = hashlib.blake2b(document.text.encode(), digest_size=16).hexdigest()
                yield document

    def clean(html: str) -> str:
        text = ftfy.fix_text(BeautifulSoup(html, "html.parser").get_text())
        found = [hit for one in recognizers for hit in one.analyze(text, one.supported_entities)]
        for hit in sorted(found, key=lambda hit: -hit.start):
            text = f"{text[: hit.start]}[{hit.entity_type}]{text[hit.end :]}"
        return text

    steps = [
        Read(),
        Convert(),
        LambdaFilter(lambda document: py3langid.classify(document.text)[0] == "en"),
        ParquetWriter(folder, compression="zstd", expand_metadata=True),
    ]
    LocalPipelineExecutor(steps, logging_dir=str(Path(folder) / "logs")).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
