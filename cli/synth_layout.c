/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors of a made-up transformer checkpoint of a given size. */
#include "synth_layout.h"
#include "cli.h"
#include <string.h>

/* One model: everything follows from these three numbers. */
typedef struct model {
    uint64_t hidden; /* a multiple of 32 */
    uint64_t n_layers;
    uint64_t vocabulary;
} model;

/* Tensors outside the layers, and inside each. */
enum { N_OUTER = 3, N_INNER = 9 };

/* The proportions of Llama 3 8B: grouped-query attention with a quarter of the heads, and an MLP of
 * 3.5 times the width. So a layer has 2 h^2 + 2 h h/4 + 3 h 3.5h weights and two norms. */
static uint64_t kv_width(uint64_t hidden) {
    return hidden / 4;
}

static uint64_t mlp_width(uint64_t hidden) {
    return hidden / 2 * 7;
}

static uint64_t layer_elems(uint64_t hidden) {
    return 2 * hidden * hidden + 2 * hidden * kv_width(hidden) + 3 * hidden * mlp_width(hidden) +
           2 * hidden;
}

/* Generous: a name, a type, a shape and two offsets, with all their punctuation. */
static uint64_t header_bytes(uint64_t n_layers) {
    return 256 + (N_OUTER + N_INNER * n_layers) * (LAYOUT_NAME + 96);
}

/* The header's bytes, counted as elements. */
static uint64_t header_elems(uint64_t n_layers, uint64_t elem_bytes) {
    return header_bytes(n_layers) / elem_bytes + 1;
}

static uint64_t next_hidden(uint64_t hidden) {
    return hidden + (hidden < 256 ? 32 : hidden < 1024 ? 64 : 128);
}

/* Layers for a width: Llama's 32 for 4096, and in proportion. */
static uint64_t usual_layers(uint64_t hidden) {
    return hidden < 256 ? 1 : hidden / 128;
}

/* True if layers, header and a last eighth for the embeddings fit. */
static bool fits(uint64_t hidden, uint64_t n_layers, uint64_t elem_bytes, uint64_t total_elems) {
    uint64_t body = n_layers * layer_elems(hidden) + hidden;
    return body + header_elems(n_layers, elem_bytes) <= total_elems / 8 * 7;
}

/* The widest model that fits, with more layers as long as they fit; the vocabulary takes the rest.
 */
static model choose_model(uint64_t max_bytes, uint64_t elem_bytes) {
    uint64_t total = max_bytes / elem_bytes;
    model m = {.hidden = 16, .n_layers = 1};
    for (uint64_t hidden = 32; fits(hidden, usual_layers(hidden), elem_bytes, total);
         hidden = next_hidden(hidden)) {
        m.hidden = hidden;
        m.n_layers = usual_layers(hidden);
    }
    while (fits(m.hidden, m.n_layers + 1, elem_bytes, total)) {
        m.n_layers++;
    }
    uint64_t used =
        m.n_layers * layer_elems(m.hidden) + m.hidden + header_elems(m.n_layers, elem_bytes);
    m.vocabulary = (total - used) / (2 * m.hidden);
    return m;
}

static layout_tensor *add_tensor(layout *l, uint64_t rows, uint64_t columns) {
    layout_tensor *tensor = &l->tensors[l->n_tensors++];
    *tensor = (layout_tensor){.n_dims = rows != 0 ? 2 : 1,
                              .shape = {rows != 0 ? rows : columns, columns},
                              .n_elems = (rows != 0 ? rows : 1) * columns};
    return tensor;
}

static void add_layer(layout *l, const model *m, uint64_t layer) {
    const uint64_t h = m->hidden;
    const struct {
        const char *name;
        uint64_t rows; /* 0: a vector */
        uint64_t columns;
    } parts[N_INNER] = {
        {"input_layernorm", 0, h},
        {"self_attn.q_proj", h, h},
        {"self_attn.k_proj", kv_width(h), h},
        {"self_attn.v_proj", kv_width(h), h},
        {"self_attn.o_proj", h, h},
        {"post_attention_layernorm", 0, h},
        {"mlp.gate_proj", mlp_width(h), h},
        {"mlp.up_proj", mlp_width(h), h},
        {"mlp.down_proj", h, mlp_width(h)},
    };
    for (size_t i = 0; i < N_INNER; i++) {
        layout_tensor *tensor = add_tensor(l, parts[i].rows, parts[i].columns);
        snprintf(tensor->name, sizeof(tensor->name), "model.layers.%llu.%s.weight",
                 (unsigned long long)layer, parts[i].name);
    }
}

static void add_outer(layout *l, const char *name, uint64_t rows, uint64_t columns) {
    layout_tensor *tensor = add_tensor(l, rows, columns);
    snprintf(tensor->name, sizeof(tensor->name), "%s", name);
}

layout layout_make(uint64_t max_bytes, uint64_t elem_bytes) {
    model m = choose_model(max_bytes, elem_bytes);
    layout l = {0};
    l.tensors = cli_allocate((size_t)(N_OUTER + N_INNER * m.n_layers), sizeof(*l.tensors));
    add_outer(&l, "model.embed_tokens.weight", m.vocabulary, m.hidden);
    for (uint64_t layer = 0; layer < m.n_layers; layer++) {
        add_layer(&l, &m, layer);
    }
    add_outer(&l, "model.norm.weight", 0, m.hidden);
    add_outer(&l, "lm_head.weight", m.vocabulary, m.hidden);
    return l;
}
