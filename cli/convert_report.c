/* SPDX-License-Identifier: Apache-2.0 */
/* What lathe convert says when it has converted a checkpoint: the summary and the JSON. */
#include "convert_report.h"
#include "cli.h"
#include <stdlib.h>
#include <string.h>

/* The tensors that share their types. */
typedef struct type_group {
    const char *from;
    const char *to;
    bool converted;
    uint64_t n_tensors;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t n_saturated;
} type_group;

static type_group *find_group(type_group *groups, size_t *n_groups,
                              const lathe_tensor_report *tensor) {
    for (size_t i = 0; i < *n_groups; i++) {
        if (strcmp(groups[i].from, tensor->from) == 0 && strcmp(groups[i].to, tensor->to) == 0 &&
            groups[i].converted == (tensor->converted != 0)) {
            return &groups[i];
        }
    }
    groups[*n_groups] =
        (type_group){.from = tensor->from, .to = tensor->to, .converted = tensor->converted != 0};
    return &groups[(*n_groups)++];
}

static void add_group_row(cli_table *table, const type_group *group, const char *to) {
    char in[CLI_BYTES_TEXT];
    char out[CLI_BYTES_TEXT];
    cli_table_cell(table, "%s", group->from);
    cli_table_cell(table, "%s", to);
    cli_table_cell(table, "%llu", (unsigned long long)group->n_tensors);
    cli_table_cell(table, "%s", cli_bytes_text(group->bytes_in, in));
    cli_table_cell(table, "%s", cli_bytes_text(group->bytes_out, out));
    if (group->bytes_out != 0) {
        cli_table_cell(table, "%.2f", (double)group->bytes_in / (double)group->bytes_out);
    } else {
        cli_table_cell(table, "-");
    }
}

static void print_groups(const lathe_checkpoint_report *report) {
    static const char *const headings[] = {"from", "to", "tensors", "in", "out", "ratio"};
    type_group *groups = cli_allocate((size_t)report->n_tensors, sizeof(*groups));
    size_t n_groups = 0;
    uint64_t n_saturated = 0;
    for (uint64_t i = 0; i < report->n_tensors; i++) {
        const lathe_tensor_report *tensor = &report->tensors[i];
        type_group *group = find_group(groups, &n_groups, tensor);
        group->n_tensors++;
        group->bytes_in += tensor->bytes_in;
        group->bytes_out += tensor->bytes_out;
        n_saturated += tensor->n_saturated;
    }
    cli_table *table = cli_table_new("llrrrr", headings);
    for (size_t i = 0; i < n_groups; i++) {
        add_group_row(table, &groups[i], groups[i].converted ? groups[i].to : "(kept)");
    }
    type_group files = {.from = "files",
                        .n_tensors = report->n_tensors,
                        .bytes_in = report->input_bytes,
                        .bytes_out = report->output_bytes};
    add_group_row(table, &files, "");
    cli_table_print(table);
    if (report->n_shards != 0) {
        printf("%llu shard%s and an index\n", (unsigned long long)report->n_shards,
               report->n_shards == 1 ? "" : "s");
    }
    if (n_saturated != 0) {
        printf("%llu elements were beyond the sampled scale and saturated\n",
               (unsigned long long)n_saturated);
    }
    free(groups);
}

/* A rule that decided about no tensor may be misspelt. The rule of --to keep, which comes after
 * all, may well have nothing left. */
static void print_idle_rules(const lathe_checkpoint_report *report,
                             const lathe_checkpoint_options *options) {
    for (uint64_t i = 0; i < report->n_rules; i++) {
        if (report->rule_matches[i] == 0 && strcmp(options->rules[i].glob, "*") != 0) {
            printf("the rule for '%s' decided about no tensor\n", options->rules[i].glob);
        }
    }
}

static bool is_cpu(const lathe_device_info *device) {
    return strcmp(device->selector, "cpu") == 0;
}

/* A user who chose a device should know when the CPU did the work. */
static void print_takeover(const convert_result *result) {
    const lathe_engine_stats *engine = &result->metrics->engine;
    if (is_cpu(&result->device) && result->wanted_device != NULL &&
        strcmp(result->wanted_device, "opencl") == 0) {
        printf("there is no OpenCL device to use: the CPU did the work\n");
    }
    if (engine->n_fallbacks != 0) {
        printf("the device failed: the CPU took over in %llu of %llu conversions\n",
               (unsigned long long)engine->n_fallbacks, (unsigned long long)engine->n_conversions);
    }
}

void convert_result_print(const convert_result *result) {
    const lathe_checkpoint_report *report = result->report;
    const lathe_device_info *device = &result->device;
    char peak[CLI_BYTES_TEXT];
    print_groups(report);
    printf("%.2f s, %.0f MB/s, ", report->seconds,
           report->seconds > 0 ? (double)report->input_bytes / report->seconds * 1e-6 : 0);
    if (is_cpu(device)) {
        printf("%s %s, %u thread%s", device->selector, lathe_isa_name(device->isa),
               (unsigned)device->threads, device->threads == 1 ? "" : "s");
    } else {
        printf("%s %s", device->selector, device->name);
    }
    printf(", %s of buffers at most\n", cli_bytes_text(result->metrics->pool.peak_bytes, peak));
    print_takeover(result);
    print_idle_rules(report, result->options);
    if (result->stats) {
        convert_stats_print(result->metrics);
    }
}

static json_t *rules_json(const lathe_checkpoint_report *report,
                          const lathe_checkpoint_options *options) {
    json_t *rules = json_array();
    for (uint64_t i = 0; i < report->n_rules; i++) {
        const lathe_rule *rule = &options->rules[i];
        json_array_append_new(rules,
                              json_pack("{s:o, s:s, s:o}", "glob", cli_json_text(rule->glob), "to",
                                        rule->dtype == 0 ? "keep" : lathe_dtype_name(rule->dtype),
                                        "tensors", cli_json_count(report->rule_matches[i])));
    }
    return rules;
}

static json_t *tensors_json(const lathe_checkpoint_report *report) {
    json_t *tensors = json_array();
    for (uint64_t i = 0; i < report->n_tensors; i++) {
        const lathe_tensor_report *tensor = &report->tensors[i];
        json_array_append_new(
            tensors, json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o}", "name", tensor->name,
                               "from", tensor->from, "to", tensor->to, "converted",
                               (int)tensor->converted, "bytes_in", cli_json_count(tensor->bytes_in),
                               "bytes_out", cli_json_count(tensor->bytes_out), "scale_count",
                               cli_json_count(tensor->scale_count), "n_saturated",
                               cli_json_count(tensor->n_saturated)));
    }
    return tensors;
}

json_t *convert_result_json(const convert_result *result) {
    const lathe_checkpoint_report *report = result->report;
    const lathe_device_info *device = &result->device;
    json_t *object = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:f, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "input_bytes",
        cli_json_count(report->input_bytes), "output_bytes", cli_json_count(report->output_bytes),
        "n_tensors", cli_json_count(report->n_tensors), "converted",
        cli_json_count(report->n_converted), "shards", cli_json_count(report->n_shards), "seconds",
        report->seconds, "peak_pool_bytes", cli_json_count(result->metrics->pool.peak_bytes),
        "device", device->selector, "device_name", cli_json_text(device->name), "isa",
        cli_isa_json(device), "threads", cli_json_count(device->threads), "engine",
        cli_engine_stats_json(&result->metrics->engine), "rules",
        rules_json(report, result->options), "tensors", tensors_json(report));
    if (result->stats &&
        json_object_set_new(object, "metrics", convert_stats_json(result->metrics)) != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}
