/* SPDX-License-Identifier: Apache-2.0 */
/* PRECISE's search, as core/precise.c does it: a team of work-items tries one candidate, or some at
 * once. All work-items of a group take the same way, since they meet at barriers. Only programs
 * with LT_SEARCH. */
#include "candidates.cl"

#ifdef LT_SEARCH

__constant ulong lt_fractions[] = {LATHE_PRECISE_FRACTIONS};

/* A candidate and what it gives; doubles. */
typedef struct lt_tried {
    ulong scale;
    ulong product;
    ulong squares;
    ulong gain;
} lt_tried;

/* What a work-group's search shares. */
typedef struct lt_shared {
    __local ulong *products; /* of each work-item */
    __local ulong *squares;
    __local lt_tried *tried;  /* of each team's candidates */
    __local uint *is_last;    /* of each team's candidates: the walk ends there */
    __local lt_tried *best;   /* of each team */
    __local uint *is_walking; /* each team */
    __local uint *is_any;     /* of all */
} lt_shared;

/* A work-item's place. */
typedef struct lt_place {
    uint item;
    uint team;
    uint lane;
    uint n_lanes;      /* of a team */
    uint n_candidates; /* that a team tries at once: a power of two */
} lt_place;

/* Adds up over `step` neighbours whose first one is a multiple of that; which gets the sums. */
void lt_join(const lt_shared *shared, uint item, uint step, lt_fit fit) {
    shared->products[item] = fit.product;
    shared->squares[item] = fit.squares;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint apart = step / 2; apart > 0; apart /= 2) {
        if (item % step < apart) {
            shared->products[item] += shared->products[item + apart];
            shared->squares[item] += shared->squares[item + apart];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

/* Whether that is so for any work-item of the group. */
bool lt_any(const lt_shared *shared, uint item, bool is_so) {
    if (item == 0) {
        *shared->is_any = 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (is_so) {
        *shared->is_any = 1;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const bool is_any = *shared->is_any != 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    return is_any;
}

/* What the sums of a candidate give. */
lt_tried lt_judged(const lt_space *space, ulong scale, ulong product, ulong squares) {
    lt_tried tried = {scale, lt_d_of_whole(product), lt_d_of_whole(squares), 0};
    if (!space->is_few) {
        tried.product = lt_d_scaled(tried.product, -1 - (int)space->bits);
    }
    if (squares != 0) {
        tried.gain = lt_d_mul(lt_d_div(tried.product, tried.squares), tried.product);
    }
    return tried;
}

/* The candidates end with the one whose error is beyond what rounding alone costs, by more than the
 * least error so far, whose gain is given. */
bool lt_is_last(const lt_space *space, const lt_tried *tried, ulong gain) {
    const ulong square = lt_d_mul(tried->scale, tried->scale);
    const ulong at_most = lt_d_add(lt_d_mul(lt_d_scaled(tried->scale, 1), tried->product),
                                   lt_d_scaled(lt_d_mul(space->n_elems, square), -2));
    return tried->scale == 0 || lt_d_add(gain, lt_d_mul(square, tried->squares)) > at_most;
}

/* The greatest gain of a team's candidates up to that one, and of the best before them. */
ulong lt_greatest_gain(const lt_shared *shared, lt_place place, uint candidate) {
    ulong greatest = shared->best[place.team].gain;
    for (uint i = 0; i <= candidate; i++) {
        greatest = max(greatest, shared->tried[place.team * place.n_candidates + i].gain);
    }
    return greatest;
}

/* The first of the greatest of a team's candidates, in their order up to the last one, becomes the
 * best if it is better. */
void lt_choose_best(const lt_shared *shared, lt_place place) {
    __local const lt_tried *tried = shared->tried + place.team * place.n_candidates;
    __local const uint *is_last = shared->is_last + place.team * place.n_candidates;
    ulong gain = shared->best[place.team].gain;
    uint found = place.n_candidates;
    bool goes_on = true;
    for (uint i = 0; goes_on && i < place.n_candidates; i++) {
        if (tried[i].gain > gain) {
            gain = tried[i].gain;
            found = i;
        }
        goes_on = is_last[i] == 0;
    }
    if (found < place.n_candidates) {
        shared->best[place.team] = tried[found];
    }
    shared->is_walking[place.team] = goes_on ? 1 : 0;
}

/* Tries a team's candidates, of which a work-item's own is given, a double; 0: there is none. The
 * sums of each are judged by one work-item. With `is_walk` they end as lt_is_last says. */
void lt_try(const lt_space *space, const lt_shared *shared, lt_place place, ulong scale,
            bool is_walk) {
    const uint step = place.n_lanes / place.n_candidates;
    const uint mine = place.team * place.n_candidates + place.lane;
    lt_fit fit = {0, 0};
    if (scale != 0) {
        fit = space->is_few ? lt_fit_few(space, scale, place.lane % step, step)
                            : lt_fit_counts(space, scale, place.lane % step, step);
    }
    if (place.lane % step == 0) {
        shared->tried[place.team * place.n_candidates + place.lane / step].scale = scale;
    }
    lt_join(shared, place.item, step, fit);
    lt_tried tried = {0, 0, 0, 0};
    if (place.lane < place.n_candidates) {
        const uint at = place.team * place.n_lanes + place.lane * step;
        tried =
            lt_judged(space, shared->tried[mine].scale, shared->products[at], shared->squares[at]);
        shared->tried[mine] = tried;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (place.lane < place.n_candidates) {
        const ulong gain = is_walk ? lt_greatest_gain(shared, place, place.lane) : 0;
        shared->is_last[mine] = is_walk && lt_is_last(space, &tried, gain) ? 1 : 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (place.lane == 0) {
        lt_choose_best(shared, place);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* Candidate number i of the walk; 0 beyond the last one. */
ulong lt_walk_scale(const lt_space *space, ulong first, int i) {
    const int at = i + LATHE_PRECISE_OCTAVE_STEPS;
    const ulong scale = lt_d_scaled(lt_d_mul(first, lt_fractions[at % LATHE_PRECISE_OCTAVE_STEPS]),
                                    1 - at / LATHE_PRECISE_OCTAVE_STEPS);
    const bool is_small = space->is_few && scale < lt_d_of_whole(LATHE_PRECISE_LEAST_CANDIDATE);
    return i >= LATHE_PRECISE_STEPS || is_small ? 0 : scale;
}

/* Candidates from the greatest one on. */
void lt_walk(const lt_space *space, const lt_shared *shared, lt_place place) {
    const uint step = place.n_lanes / place.n_candidates;
    const ulong first = lt_d_div(space->greatest, lt_d_of_whole((ulong)space->high));
    int i = -LATHE_PRECISE_STEPS_ABOVE;
    for (bool again = true; again; i += (int)place.n_candidates) {
        const bool is_on = shared->is_walking[place.team] != 0;
        const ulong scale = is_on ? lt_walk_scale(space, first, i + (int)(place.lane / step)) : 0;
        lt_try(space, shared, place, scale, true);
        again = lt_any(shared, place.item, shared->is_walking[place.team] != 0);
    }
}

/* Candidates between the best one and its neighbours. */
void lt_walk_between(const lt_space *space, const lt_shared *shared, lt_place place) {
    const uint step = place.n_lanes / place.n_candidates;
    const ulong middle = shared->best[place.team].scale;
    for (int first = -LATHE_PRECISE_FINE_STEPS; first <= LATHE_PRECISE_FINE_STEPS;
         first += (int)place.n_candidates) {
        const int i = first + (int)(place.lane / step);
        const ulong share = lt_d_mul(lt_d_of_whole((ulong)abs(i)), LATHE_PRECISE_FINE_STEP);
        const ulong factor = i < 0 ? lt_d_sub(LT_D_ONE, share) : lt_d_add(LT_D_ONE, share);
        const ulong scale = i > LATHE_PRECISE_FINE_STEPS ? 0 : lt_d_mul(middle, factor);
        lt_try(space, shared, place, scale, false);
    }
}

/* What the codes of the best candidate ask for becomes a candidate itself, as long as that helps.
 */
void lt_refine(const lt_space *space, const lt_shared *shared, lt_place place) {
    const lt_place together = {place.item, place.team, place.lane, place.n_lanes, 1};
    bool again = true;
    ulong gain = 0;
    for (uint i = 0; again && i < LATHE_PRECISE_REFINEMENTS; i++) {
        const lt_tried best = shared->best[place.team];
        const bool is_on = best.gain > gain;
        const ulong scale = is_on ? lt_d_div(best.product, best.squares) : 0;
        lt_try(space, shared, together, scale, false);
        gain = best.gain;
        again = lt_any(shared, place.item, shared->best[place.team].gain > gain);
    }
}

/* The best scale with the codes of the best candidate, in levels; 0: there is none, as for teams
 * that are not on. All work-items of a group do this together. */
ulong lt_search(const lt_space *space, const lt_shared *shared, lt_place place, bool is_on) {
    if (place.lane == 0) {
        const lt_tried none = {0, 0, 0, 0};
        shared->best[place.team] = none;
        shared->is_walking[place.team] = is_on ? 1 : 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_walk(space, shared, place);
    lt_walk_between(space, shared, place);
    lt_refine(space, shared, place);
    const lt_tried best = shared->best[place.team];
    return best.gain == 0 ? 0 : lt_d_div(best.product, best.squares);
}

/* The scale that the search has led to and its inverse; 0: none. */
float2 lt_other_scale(ulong found) {
    const float scale = found <= LATHE_PRECISE_MAX_FLOAT ? lt_d_to_float(found) : 0;
    const float inverse = scale > 0 ? lt_inverse(scale) : 0;
    return (float2)(inverse > 0 ? scale : 0, inverse);
}

#endif
