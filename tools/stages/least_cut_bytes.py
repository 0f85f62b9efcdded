#!/usr/bin/env python3
"""The least bytes that any assignment of a network's blocks to stages can move, folded or not: every
block may go to any stage, and a value goes once to every other stage that reads it. An integer program,
solved to the end; what a stage layout moves can be held against it.

    build/seamwright simulate --model DIR --layout 1x5f --explain --json > blocks.json
    tools/stages/least_cut_bytes.py blocks.json --stages 5 --tolerance 0.05

Needs scipy (HiGHS). Three stages take seconds, five minutes, eight longer than an hour: --seconds ends
the search, and the bound that is printed then holds all the same.
"""
import argparse
import json

import numpy
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_matrix


def values_of(blocks):
    """[bytes, writer, readers] of every write that somebody reads."""
    values, current = [], {}
    for at, block in enumerate(blocks):
        for name in block["reads"]:
            if name in current:
                values[current[name]][2].add(at)
        for name, size in block["writes"]:
            current[name] = len(values)
            values.append([size, at, set()])
    return [value for value in values if value[2]]


def program(blocks, stages, tolerance):
    """Columns: block i in stage p; then value v sent to stage p."""
    values, count = values_of(blocks), len(blocks)
    seconds = [block["seconds"] for block in blocks]
    sent = count * stages
    columns = sent + len(values) * stages
    cost = numpy.zeros(columns)
    matrix = lil_matrix((count + stages + sum(len(v[2]) for v in values) * stages, columns))
    low, high = numpy.full(matrix.shape[0], -numpy.inf), numpy.zeros(matrix.shape[0])
    for at in range(count):
        matrix[at, at * stages:(at + 1) * stages] = 1
        low[at] = high[at] = 1
    for stage in range(stages):
        for at in range(count):
            matrix[count + stage, at * stages + stage] = seconds[at]
        high[count + stage] = (1 + tolerance) * sum(seconds) / stages
    row = count + stages
    for index, (size, writer, readers) in enumerate(values):
        for stage in range(stages):
            column = sent + index * stages + stage
            cost[column] = size / 1e6
            for reader in readers:
                matrix[row, reader * stages + stage] = 1
                matrix[row, writer * stages + stage] = -1
                matrix[row, column] = -1
                row += 1
    top = numpy.ones(columns)
    for at in range(min(count, stages)):  # stages have no names: block i lies in one of the first i + 1
        top[at * stages + at + 1:(at + 1) * stages] = 0
    whole = numpy.concatenate([numpy.ones(sent), numpy.zeros(columns - sent)])
    return cost, LinearConstraint(matrix.tocsr(), low, high), whole, Bounds(numpy.zeros(columns), top)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("blocks")
    parser.add_argument("--stages", type=int, required=True)
    parser.add_argument("--tolerance", type=float, default=0.05, help="of the slowest stage over an even split")
    parser.add_argument("--seconds", type=float, default=1500)
    options = parser.parse_args()
    with open(options.blocks) as file:
        blocks = json.load(file)[0]["blocks"]
    cost, rows, whole, bounds = program(blocks, options.stages, options.tolerance)
    found = milp(cost, constraints=rows, integrality=whole, bounds=bounds,
                 options={"time_limit": options.seconds})
    if found.x is None:
        print(f"nothing found; no assignment moves less than {found.mip_dual_bound:.1f} MB")
        return
    print(f"{found.fun:.1f} MB found; no assignment moves less than {found.mip_dual_bound:.1f} MB")
    stage_of = found.x[:len(blocks) * options.stages].reshape(len(blocks), -1).argmax(1)
    for at, block in enumerate(blocks):
        if at == 0 or stage_of[at] != stage_of[at - 1]:
            print(f"  from {block['name']}: stage {stage_of[at]}")


if __name__ == "__main__":
    main()
