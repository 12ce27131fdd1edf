"""Which passwords are too easy to guess to be accepted."""

import unicodedata

MIN_DIFFERENT_CHARACTERS = 3

_COMMON = """
00000000 11111111 11223344 12121212 12341234 12344321 123123123 12345678 123456789 1234567890
123456abc 12345qwert 123qweasd 147258369 1q2w3e4r 1q2w3e4r5t 1qaz2wsx 1qazxsw2 87654321 987654321
a1b2c3d4 aa123456 abc12345 abcd1234 abcdefgh adminadmin administrator asdasdasd asdfghjk asdfghjkl
baseball changeme changeit computer football iloveyou internet jennifer letmein1 liverpool
lovelove master123 michelle passw0rd password password! password1 password1! password12
password123 password1234 p@ssw0rd p@ssword princess q1w2e3r4 qazwsxedc qwer1234 qwerty12 qwerty123
qwertyui qwertyuiop sunshine superman trustno1 welcome1 whatever zaq12wsx zxcvbnm1
"""
COMMON = frozenset(_COMMON.split())
"""The most common passwords of eight or more characters, in lower case."""


def weakness(password: str, email: str) -> str | None:
    """Why the password is too weak for an account with this address; None if it is not."""
    if any(unicodedata.category(character) == "Cc" for character in password):
        return "expected no control characters"
    if len(set(password)) < MIN_DIFFERENT_CHARACTERS or not password.strip():
        return f"expected at least {MIN_DIFFERENT_CHARACTERS} different characters"
    text = password.strip().lower()
    if text in COMMON:
        return "too common, and guessed first"
    if text in {email.lower(), email.lower().partition("@")[0]}:
        return "expected something else than the e-mail address"
    return None
