"""Forms: the shapes in which clients ask and are answered, errors included. A row each.

table      every form, and how a request is told to be of one
form       what a form is, and the question that each of them is turned into
fields     reading a request's fields
rerank     Jina's, vLLM's, Cohere's; Voyage's, infinity's, SGLang's
score      vLLM's ``/score``
tei        Text Embeddings Inference's
dashscope  Alibaba Cloud's
nvidia     NVIDIA's
"""

from .fields import Fields
from .form import Form, Inquiry, Refusal, Stamp
from .rerank import JINA
from .table import FORMS, Destination, form_of, place_of

__all__ = [
    "FORMS",
    "JINA",
    "Destination",
    "Fields",
    "Form",
    "Inquiry",
    "Refusal",
    "Stamp",
    "form_of",
    "place_of",
]
