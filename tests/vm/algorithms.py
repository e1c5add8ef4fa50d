"""Programs whose addresses and path depend on data, each beside plain Python that computes the same."""

from __future__ import annotations

from syurmy.assembler import assemble
from syurmy.isa.program import Program

CONSTANTS = """
.param zero : i32[] public = {0}
.param one : i32[] public = {1}
.param two : i32[] public = {2}
.param n : i32[] public = {N}
.param all : i32[N] public = {ALL}
"""

BINARY_SEARCH = """
.input x : i16[N] private           ; ascending
.input key : i16[] private
.output lo public                   ; how many entries are below the key
.ram a : i16[N] = x
    mov lo, zero
    mov hi, n
next:
    lt more, lo, hi
    bz more, done
    add mid, lo, hi
    div mid, mid, two
    load v, a[mid]
    lt below, v, key
    bz below, left
    addi lo, mid, 1
    cast lo, lo, i32
    jmp next
left:
    cast hi, mid, i32
    jmp next
done:
    halt
"""

INSERTION_SORT = """
.input x : i16[N] private
.output y public
.ram m : i16[N] = x
    mov i, one
next:
    lt c, i, n
    bz c, done
    load v, m[i]
    mov j, i
shift:
    lt c, zero, j
    bz c, place
    addi k, j, -1
    cast k, k, i32
    load u, m[k]
    lt c, v, u
    bz c, place
    store m[j], u
    mov j, k
    jmp shift
place:
    store m[j], v
    addi i, i, 1
    cast i, i, i32
    jmp next
done:
    load y, m[all]
    halt
"""

COLLATZ = """
.input x : i32[] private in 1..1000
.output steps public
.output peak private
    mov v, x
    mov peak, x
    mov steps, zero
next:
    lt c, one, v
    bz c, done
    div half, v, two
    mod c, v, two
    bz c, halve
    muli v, v, 3
    addi v, v, 1
    cast v, v, i32
    jmp count
halve:
    cast v, half, i32
count:
    max peak, peak, v
    addi steps, steps, 1
    cast steps, steps, i32
    jmp next
done:
    halt
"""

ROUTINES = """
.input x : i8[N] private
.output total public
.output biggest public
.ram a : i8[N] = x
    mov total, zero
    mov biggest, zero
    repeat N, t
        mov i, t
        call visit
        repeat 2, s
            mov floor, s
            call clip               ; a routine with a loop and counter of its own
        end
    end
    halt
visit:
    load v, a[i]
    call magnitude
    add total, total, v
    cast total, total, i32
    lt c, biggest, v
    bz c, back
    cast biggest, v, i32
back:
    ret
magnitude:
    cast v, v, i32
    lt c, v, zero
    bz c, positive
    neg v, v
    cast v, v, i32
positive:
    ret
clip:
    repeat 3, t
        add low, floor, t
        lt c, total, low
        bz c, fine
        cast total, low, i32
    fine:
    end
    ret
"""

NESTED = """
.input x : i8[N, N] private
.output odd public
.output rows public
.ram found : i32[N]
    mov odd, zero
    repeat N, i
        mov r, zero
        repeat N, j
            slice v, x, axis=0, start=i, len=1
            slice v, v, axis=1, start=j, len=1
            reshape v, v, ()
            mod c, v, two
            bz c, even
            add r, r, c
            cast r, r, i32
        even:
        end
        lt c, r, two
        bnz c, few
        store found[i], r
        add odd, odd, r
        cast odd, odd, i32
    few:
    end
    load rows, found[all]
    halt
"""


def program(source: str, n: int) -> Program:
    every = ", ".join(map(str, range(n)))
    return assemble(f".const N = {n}\n{CONSTANTS}{source}".replace("ALL", every))


def search(x: list[int], key: int) -> int:
    lo, hi = 0, len(x)
    while lo < hi:
        mid = (lo + hi) // 2
        if x[mid] < key:
            lo = mid + 1
        else:
            hi = mid
    return lo


def collatz(x: int) -> tuple[int, int]:
    steps, peak = 0, x
    while x > 1:
        x = x // 2 if x % 2 == 0 else 3 * x + 1
        peak = max(peak, x)
        steps += 1
    return steps, peak


def routines(x: list[int]) -> tuple[int, int]:
    total = biggest = 0
    for v in map(abs, x):
        total += v
        biggest = max(biggest, v)
        for s in range(2):
            for t in range(3):
                total = max(total, s + t)
    return total, biggest


def nested(x: list[list[int]]) -> tuple[int, list[int]]:
    counts = [sum(v % 2 for v in row) for row in x]
    kept = [c if c >= 2 else 0 for c in counts]
    return sum(kept), kept
