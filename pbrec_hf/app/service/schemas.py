"""What the service takes and gives, as `/docs` and `/openapi.json` describe it."""

from typing import Annotated, Literal

from fastapi import File, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from .answering import Asked

EXAMPLE = "the dog on the left"


class Options(BaseModel):
    """What is asked about a photograph."""

    model_config = ConfigDict(extra="forbid")

    expressions: list[str] = Field(
        description="What to find; each costs little more than the first.", examples=[[EXAMPLE]]
    )
    referents: Literal["one", "any"] = Field(
        "one", description="How many things an expression may mean: one, or as many as there are, or none."
    )
    threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | Literal["auto"] | None = Field(
        None,
        description="Answers that score less are left out. `auto`, the default of `any`, is the threshold of the "
        "checkpoint's calibration; the default of `one` is 0.",
    )
    top_k: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="Proposals that vote, where the checkpoint lets them vote."
    )
    masks: bool = Field(False, description="Whether answers have masks, as COCO run lengths.")

    def asked(self) -> Asked:
        """The same without the expressions."""
        return Asked(self.referents, self.threshold, self.top_k, self.masks)


class Request(Options):
    """A photograph as text, and what is asked about it."""

    image: str = Field(
        description="The file of the photograph (JPEG, PNG …) as base64, or as data:image/…;base64,….",
        examples=["data:image/jpeg;base64,/9j/4AAQ…"],
    )


class Upload(Options):
    """A photograph as a file, and what is asked about it."""

    image: Annotated[UploadFile, File(description="The file of the photograph.")]


class Mask(BaseModel):
    """COCO run lengths of (height, width) pixels."""

    size: tuple[int, int]
    counts: str


class Answer(BaseModel):
    """One thing that an expression means."""

    score: float = Field(description="In [0, 1]; the probability of being right if the checkpoint is calibrated.")
    raw_score: float | None = Field(None, description="What the score was before the calibration.")
    box: tuple[float, float, float, float] = Field(description="Left, top, right, bottom; pixels of the photograph.")
    box_source: str = Field(description="`detector`, or `mask`, from which the box was made.")
    mask: Mask | None = None
    mask_source: str | None = Field(None, description="`detector` or `prompt`; `box` is the filled box.")


class Result(BaseModel):
    """What one expression means."""

    expression: str
    count: int
    exists: float | None = Field(
        None, description="Probability that there is such a thing, of a calibrated checkpoint."
    )
    unread: list[str] | None = Field(None, description="Words that the model does not know.")
    answers: list[Answer] = Field(description="The best first; empty where nothing was found.")


class Response(BaseModel):
    """The answers of a photograph, turned upright as its file says."""

    width: int
    height: int
    results: list[Result] = Field(description="One for each expression, in their order.")


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str = Field(description="In one line, with the remedy.")


class Health(BaseModel):
    """Whether questions are answered."""

    status: Literal["ok", "stuck"]
    model: str
    version: str
    inside: int = Field(description="Requests that are being read, wait or are answered.")


__all__ = ["Answer", "Health", "Mask", "Options", "Problem", "Request", "Response", "Result", "Upload"]
