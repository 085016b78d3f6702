"""Values of every JSON type, and invalid ones, as an untrusted producer may write them."""

DEEP = b"[" * 100_000 + b"]" * 100_000
VALUES = (
    *(b"null", b"true", b"false", b"0", b"-1", b"-0", b"1e999", b"-1e999", b"NaN", b"Infinity", b"0.5"),
    *(b"9" * 5000, b"-" + b"9" * 5000, b"9" * 4300, b"1" * 1000, b"1e308", b"1e-400", b"{}", b"[]", b"[[1]]"),
    *(b'""', b'" "', b'"None"', b'"null"', b'"\\u0000"', b'"\\ud800"', b'"\\udfff\\ud800"', b'"\xff\xfe"'),
    *(
        b'"\xed\xa0\x80"',
        b'"\x00"',
        b'"\n\x1b[2J"',
        b'"\\n\\u001b[2J"',
        b'{"a":{"b":[null]}}',
        b"{",
        b'"',
        b"\xff",
    ),
    *(b"[" * 900 + b"]" * 900, DEEP, b'{"a":' * 1000 + b"1" + b"}" * 1000),
    *('"\u0663\u0664"'.encode(), '"\u00b2"'.encode(), '"\u2167"'.encode(), '"\u202e\ufeff"'.encode()),
    *(b'{"model":"patchtst"}', b'"patchtst"', b'"x";DROP', b"1_000", b"0x10", b"+1", b" 7 "),
)
LONG = b'"' + b"a" * 1_000_000 + b'"'
