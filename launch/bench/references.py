"""The best values known of public instances, by name.

| family | source |
|---|---|
| `gap*` | OR-Library (J. E. Beasley); optima, proved with an exact solver |
| `assign*` | OR-Library (J. E. Beasley); optima |
| `u_*.0` | Braun et al. 2001, 512 tasks on 16 nodes; best-known makespans of the HCSP collection |
"""

from __future__ import annotations

_GAP = {
    "gap1": (336, 327, 339, 341, 326),
    "gap2": (434, 436, 420, 419, 428),
    "gap3": (580, 564, 573, 570, 564),
    "gap4": (656, 644, 673, 647, 664),
    "gap5": (563, 558, 564, 568, 559),
    "gap6": (761, 759, 758, 752, 747),
    "gapa": (1698, 3235, 1360, 2623, 1158, 2339),
    "gapc": (1931, 3456, 1402, 2806, 1243, 2391),
}
REFERENCES: dict[str, float] = {
    **{f"{name}-{number}": float(value) for name, row in _GAP.items() for number, value in enumerate(row, 1)},
    "assign100": 305.0,
    "assign600": 1176.0,
    "u_c_hihi.0": 7358942.8,
    "u_c_hilo.0": 152812.2,
    "u_c_lohi.0": 238649.0,
    "u_c_lolo.0": 5135.7,
    "u_i_hihi.0": 2924720.0,
    "u_i_hilo.0": 73202.1,
    "u_i_lohi.0": 101527.0,
    "u_i_lolo.0": 2533.4,
    "u_s_hihi.0": 4080153.5,
    "u_s_hilo.0": 95553.3,
    "u_s_lohi.0": 121000.9,
    "u_s_lolo.0": 3419.4,
}
