import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { axisRanks, MESH_AXES, meshOf, neighbourhoodOf, placeOf, rankAt, sequenceRanks } from './mesh.js';

const sizes = fc.record({
  pipeline: fc.integer({ min: 1, max: 5 }),
  data: fc.integer({ min: 1, max: 5 }),
  tensor: fc.integer({ min: 1, max: 5 }),
});

test('every rank has a place of its own', () => {
  fc.assert(
    fc.property(sizes, (size) => {
      const worldSize = size.pipeline * size.data * size.tensor;
      const mesh = meshOf(size, worldSize);
      assert.deepEqual(mesh, { ...size });
      for (let rank = 0; rank < worldSize; rank += 1) {
        const place = placeOf(mesh, rank);
        assert.equal(rankAt(mesh, place), rank);
        for (const axis of MESH_AXES) assert(place[axis] >= 0 && place[axis] < mesh[axis]);
      }
    }),
  );
});

test('along every axis the ranks fall into groups', () => {
  fc.assert(
    fc.property(sizes, fc.constantFrom(...MESH_AXES), (mesh, axis) => {
      const worldSize = mesh.pipeline * mesh.data * mesh.tensor;
      for (let rank = 0; rank < worldSize; rank += 1) {
        const ranks = axisRanks(mesh, rank, axis);
        assert.equal(ranks[placeOf(mesh, rank)[axis]], rank);
        for (const other of ranks) assert.deepEqual(axisRanks(mesh, other, axis), ranks);
      }
    }),
  );
});

test('tensor ranks are nearest, stages farthest', () => {
  const mesh = meshOf({ pipeline: 2, tensor: 2 }, 8);
  assert.deepEqual(axisRanks(mesh, 5, 'tensor'), [4, 5]);
  assert.deepEqual(axisRanks(mesh, 5, 'data'), [5, 7]);
  assert.deepEqual(axisRanks(mesh, 5, 'pipeline'), [1, 5]);
});

test('ranks that share sequences are neighbours along the data axis', () => {
  fc.assert(
    fc.property(sizes, fc.integer({ min: 1, max: 4 }), (mesh, sharing) => {
      const whole = { ...mesh, data: mesh.data * sharing };
      for (let rank = 0; rank < whole.pipeline * whole.data * whole.tensor; rank += 1) {
        const ranks = sequenceRanks(whole, rank, sharing);
        assert.equal(ranks.length, sharing);
        assert.equal(ranks[placeOf(whole, rank).data % sharing], rank);
        for (const other of ranks) assert.deepEqual(sequenceRanks(whole, other, sharing), ranks);
      }
    }),
  );
});

test('runs of neighbours cover the ranks, and counterparts are at one place of each', () => {
  const natural = fc.integer({ min: 1, max: 6 });
  fc.assert(
    fc.property(natural, natural, natural, (size, runs, stride) => {
      const ranks = Array.from({ length: size * runs }, (_, index) => 3 + index * stride);
      for (const [index, rank] of ranks.entries()) {
        const { neighbours, counterparts } = neighbourhoodOf(ranks, rank, size);
        assert.deepEqual([neighbours.length, counterparts.length], [size, runs]);
        assert.equal(neighbours[index % size], rank);
        assert.equal(counterparts[Math.floor(index / size)], rank);
        assert.deepEqual(
          neighbours.filter((other) => counterparts.includes(other)),
          [rank],
        );
        for (const other of neighbours)
          assert.deepEqual(neighbourhoodOf(ranks, other, size).neighbours, neighbours);
        for (const other of counterparts)
          assert.deepEqual(neighbourhoodOf(ranks, other, size).counterparts, counterparts);
      }
    }),
  );
});
