# SPDX-License-Identifier: Apache-2.0
"""Words that name no parameter, since one of the languages, or its library, has taken them.

Lower-case, as names of parameters are. Python itself takes several that stand here, so the list
decides how a prompt reads.
"""

from typing import Final

_WORDS = """
abstract add alias and and_eq arguments as ascending asm assert async auto await base bitand
bitor bool boolean break byte case catch chan char checked cin class compare compl const
const_cast continue cout data debugger decimal default defer delegate delete deriving
descending do double dynamic dynamic_cast else end endl entry enum eval event expected explicit
export extends extern fallthrough false family final finally fixed float for forall foreach
foreign friend from func function get global go goto group hiding if implement implements
implicit import imports in include infix infixl infixr inline instance instanceof int interface
internal into iomanip iostream is java join length let lock long main map maximum mdo minimum
mod module mutable name namespace native new newtype not not_eq npos null object of operator or
or_eq orderby out override package params partial private proc protected prototype public range
readonly rec ref register reinterpret_cast remove return sbyte sealed select set short sizeof
stackalloc static static_cast std strictfp string struct super switch synchronized template
then this throw throws transient true try type typedef typeid typename typeof uint ulong
unchecked undefined union unsafe unsigned ushort using value var virtual void volatile wchar_t
where while with xor xor_eq yield
"""
RESERVED: Final = frozenset(_WORDS.split())
