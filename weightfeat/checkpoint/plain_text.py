"""What a text is that lies where a model should: a pointer, a web page, a server's error, another tool's text."""

from __future__ import annotations

import codecs
import re

from weightfeat.checkpoint.faults import Fault, Malformed

_CONTROL_CODES = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b")
_WIDE = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_SHOWN = 60

_XML = r"(<\?xml[^>]*>\s*)?"
_AGAIN = "fetch the model again and look at what the server says"
_CONVERT = "give the network it was converted from, or save the weights as .safetensors"
_GIVE = "give the path of a model file"
# Beginnings in lower case, behind whatever white space, mark of byte order and comment a tool or proxy put there; what
# the text then is, and what to do.
_BEGINNINGS = (
    (
        r"version https?://(git-lfs|hawser|git-media)\b",
        "it is a git-lfs pointer, not the file itself",
        "run git lfs pull",
    ),
    (
        r"# xet version\b",
        "it is a Xet pointer, not the file itself",
        "fetch it with git xet or the hub's own client",
    ),
    (_XML + r"<!doctype\s+(html|svg)\b", "it is a web page, not a model", _AGAIN),
    (_XML + r"<(html|head|body|title|script)\b", "it is a web page, not a model", _AGAIN),
    (_XML + r"<(error|errorresponse)\b", "it is a server's error message in XML, not a model", _AGAIN),
    (_XML + r"<net\s[^>]*\bname=", "it is the text half of an OpenVINO network, which is not read", _CONVERT),
    (_XML + r"<pmml\b", "it is a PMML file, which holds no image classifier's weights", _GIVE),
    (r"<\?xml\b", "it is an XML file, not a model", _GIVE),
    (r"model_checkpoint_path\s*:", "it is the table of a TensorFlow checkpoint, which is not read", _CONVERT),
    (r"7767517\s", "it is the text half of an ncnn network, which is not read", _CONVERT),
    (
        r"(name|layer|input|input_param)\s*[:{].*\blayers?\s*\{",
        "it describes a Caffe network and has no weights",
        _CONVERT,
    ),
    (
        r"(found|moved permanently|see other)\b.{0,20}\bredirect",
        "it is a server's redirection, not a model",
        _AGAIN,
    ),
    (
        r"(entry|file|repository|model) not found|not found$|40[134]\b|access( is)? denied|forbidden|unauthorized"
        r"|invalid (user|credentials)|too many requests",
        "it is a server's error message, not a model",
        _AGAIN,
    ),
)
_JSON = (
    (r'"weight_map"\s*:', "it is the index of a model in several files", "give the folder they lie in"),
    (
        r'"format"\s*:\s*"(layers|graph)-model"',
        "it is the text half of a TensorFlow.js network, which is not read",
        _CONVERT,
    ),
    (
        r'"(errors?|error_?message|errortype|detail|message|status_?code)"\s*:',
        "it is a server's error message in JSON, not a model",
        _AGAIN,
    ),
    (r'"(class_name|architectures|model_type)"\s*:', "it describes a network and has no weights", _GIVE),
)
_COMMENT = re.compile(r"\s*<!--.*?-->", re.DOTALL)


def fault_of(head: bytes) -> Fault | None:
    """What the text is that begins with `head`, as the fault to raise; None where the bytes are no text.

    >>> print(fault_of(b"\\xef\\xbb\\xbf\\n <!DOCTYPE HTML>"))
    it is a web page, not a model
    """
    text = _decoded(head)
    if text is None:
        return None
    begins = _COMMENT.sub("", text).strip().lower()
    known = _BEGINNINGS if begins[:1] not in ("{", "[") else ()
    for pattern, what, remedy in known:
        if re.match(pattern, begins, re.DOTALL):
            return Malformed(what, remedy)
    if not known:
        found = (Malformed(what, remedy) for pattern, what, remedy in _JSON if re.search(pattern, begins))
        return next(found, Malformed("it is a JSON file, not a model", _GIVE))
    line = text.strip().partition("\n")[0].strip()
    shown = line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "..."
    return Malformed(f"it is a text file ({shown!r})" if shown else "it is a text file of white space", _GIVE)


def _decoded(head: bytes) -> str | None:
    for mark, encoding in _WIDE:
        if head.startswith(mark):
            text = head[len(mark) : len(head) & ~1].decode(encoding, "replace")
            return None if "\ufffd" in text[:-1] or _CONTROL_CODES & set(map(ord, text)) else text
    head = head.removeprefix(codecs.BOM_UTF8)
    # The last character may be cut in two.
    is_utf8 = len(head.decode("utf-8", "ignore").encode()) > len(head) - 4
    return head.decode("utf-8", "ignore") if is_utf8 and not set(head) & _CONTROL_CODES else None
