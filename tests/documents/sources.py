"""Sources of every format, and the command that converts them."""

import zipfile
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

from prag_lightning.cli.data import DATA_COMMANDS

SAMPLES = Path(__file__).parent / "samples"
SOURCES = {
    "2wikimultihopqa": "2wikimultihopqa",
    "beir": "beir",
    "complexwebquestions": "ComplexWebQuestions_dev.json",
    "dpr": "psgs_w100.tsv",
    "flashrag": "flashrag_questions.jsonl",
    "hotpotqa": "hotpotqa.json",
    "jsonl": "documents.jsonl",
    "popqa": "popQA.tsv",
    "published": "published",
    "squad": "squad.json",
    "text": "text",
}


def prag_data(*arguments: object) -> None:
    auto_cli(DATA_COMMANDS, args=[str(one) for one in arguments], prog="prag data")


HF_SQUAD: list[dict[str, Any]] = [
    {
        "id": "s0",
        "title": "Pell_(river)",
        "context": "The Pell is a river.",
        "question": "What is the Pell?",
        "answers": {"text": ["a river", "a river", "river"], "answer_start": [12, 12, 14]},
    },
    {
        "id": "s1",
        "title": "Pell_(river)",
        "context": "The Pell is a river.",
        "question": "Who drank it?",
        "answers": {"text": [], "answer_start": []},
    },
    {
        "id": "s2",
        "title": "Pell_(river)",
        "context": "The Pell is a river.",
        "question": "Which river is it?",
        "answers": {"text": ["Pell"], "answer_start": [4]},
    },
    {
        "id": "s3",
        "title": "Pell_(river)",
        "context": "Nobody asks about Lund.",
        "question": "Who asks about Lund?",
        "answers": {"text": [], "answer_start": []},
    },
]
HF_HOTPOTQA: list[dict[str, Any]] = [
    {
        "id": "h0",
        "type": "bridge",
        "question": "Into which sea flows the Pell?",
        "answer": "the North Sea",
        "supporting_facts": {"title": ["Pell (river)"], "sent_id": [1]},
        "context": {
            "title": ["Pell (river)", "Lund"],
            "sentences": [
                ["The Pell is a river.", " It flows into the North Sea."],
                ["Lund is a town."],
            ],
        },
    },
    {
        "id": "h1",
        "type": "comparison",
        "question": "Are Lund and Oslo towns?",
        "answer": "yes",
        "supporting_facts": {"title": ["Lund", "Oslo"], "sent_id": [0, 0]},
        "context": {"title": ["Lund"], "sentences": [["Lund is a town."]]},
    },
]


def pdf_of(*pages: str) -> bytes:
    """Return a PDF file with one line of text on each page."""
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids "
        f"[{' '.join(f'{4 + 2 * n} 0 R' for n in range(len(pages)))}] >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET" if text else ""
        objects += [
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * number} 0 R >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    content, places = "%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(content))
        content += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    return (
        f"{content}xref\n0 {size}\n0000000000 65535 f \n{table}"
        f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(content)}\n%%EOF\n"
    ).encode()


def write_word(file: Path, heading: str, paragraph: str) -> None:
    """Write a Word file of one heading and one paragraph."""
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    package = "http://schemas.openxmlformats.org/package/2006"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.'
        'main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}" Target="word/document.xml"/></Relationships>',
        "word/document.xml": f'<w:document xmlns:w="{word}"><w:body><w:p><w:pPr><w:pStyle '
        f'w:val="Heading1"/></w:pPr><w:r><w:t>{heading}</w:t></w:r></w:p><w:p><w:r>'
        f"<w:t>{paragraph}</w:t></w:r></w:p></w:body></w:document>",
    }
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
