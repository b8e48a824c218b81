"""Values that a JSON file may hold where something else is expected."""

from __future__ import annotations

from hypothesis import strategies as st

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.just(10**400),  # valid JSON, but no float
)
JSON_VALUES = st.one_of(
    _SCALARS,
    st.lists(_SCALARS, max_size=3),
    st.lists(st.lists(_SCALARS, max_size=1), max_size=2),
    st.dictionaries(st.text(max_size=5), _SCALARS, max_size=2),
)
