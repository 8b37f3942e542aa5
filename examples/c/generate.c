/*
 * Asks a gpt-oss model one question through the C library and prints its answer as it comes.
 *
 *     ./generate model.bin "What is 47 + 38?"
 *
 * The output is the whole completion in Harmony, the format of gpt-oss: the analysis channel first, then the final
 * answer. A program for users would show the text of the final channel.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gptoss.h>

enum { MAX_ANSWER_TOKENS = 512 };

static const char SYSTEM_MESSAGE[] =
    "You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\n"
    "\n"
    "Reasoning: medium\n"
    "\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message.";

/* Ends the program with the library's own explanation unless the call succeeded. */
static void check(enum gptoss_status status) {
    if (status != gptoss_status_success) {
        fprintf(stderr, "generate: %s (%s)\n", gptoss_last_error(), gptoss_status_name(status));
        exit(EXIT_FAILURE);
    }
}

static uint32_t special_token(gptoss_tokenizer_t tokenizer, enum gptoss_special_token type) {
    uint32_t token = 0;
    check(gptoss_tokenizer_get_special_token_id(tokenizer, type, &token));
    return token;
}

static void append_special_token(gptoss_context_t context,
                                 gptoss_tokenizer_t tokenizer,
                                 enum gptoss_special_token type) {
    const uint32_t token = special_token(tokenizer, type);
    check(gptoss_context_append_tokens(context, 1, &token));
}

static void append_text(gptoss_context_t context, const char* text) {
    check(gptoss_context_append_chars(context, text, strlen(text), NULL));
}

/* <|start|>ROLE<|message|>CONTENT<|end|> */
static void append_message(gptoss_context_t context,
                           gptoss_tokenizer_t tokenizer,
                           const char* role,
                           const char* content) {
    append_special_token(context, tokenizer, gptoss_special_token_start);
    append_text(context, role);
    append_special_token(context, tokenizer, gptoss_special_token_message);
    append_text(context, content);
    append_special_token(context, tokenizer, gptoss_special_token_end);
}

static void print_token(gptoss_tokenizer_t tokenizer, uint32_t token) {
    static const char* const names[gptoss_special_token_max] = {
        [gptoss_special_token_invalid] = "<|unnamed|>",
        [gptoss_special_token_return] = "<|return|>\n",
        [gptoss_special_token_start] = "<|start|>",
        [gptoss_special_token_message] = "<|message|>",
        [gptoss_special_token_end] = "<|end|>\n",
        [gptoss_special_token_refusal] = "<|refusal|>",
        [gptoss_special_token_constrain] = "<|constrain|>",
        [gptoss_special_token_channel] = "<|channel|>",
        [gptoss_special_token_call] = "<|call|>\n",
        [gptoss_special_token_untrusted] = "<|untrusted|>",
        [gptoss_special_token_end_untrusted] = "<|end_untrusted|>",
    };
    uint32_t num_text_tokens = 0;
    check(gptoss_tokenizer_get_num_text_tokens(tokenizer, &num_text_tokens));
    if (token < num_text_tokens) {
        const void* bytes = NULL;
        size_t num_bytes = 0;
        check(gptoss_tokenizer_decode(tokenizer, token, &bytes, &num_bytes));
        fwrite(bytes, 1, num_bytes, stdout);
    } else {
        enum gptoss_special_token type = gptoss_special_token_invalid;
        check(gptoss_tokenizer_get_special_token(tokenizer, token, &type));
        fputs(names[type], stdout);
    }
    fflush(stdout);
}

int main(int num_arguments, char** arguments) {
    if (num_arguments != 3) {
        fprintf(stderr, "usage: generate MODEL TEXT\n");
        return EXIT_FAILURE;
    }

    gptoss_model_t model = NULL;
    gptoss_tokenizer_t tokenizer = NULL;
    gptoss_context_t context = NULL;
    check(gptoss_model_create_from_file(arguments[1], &model));
    check(gptoss_model_get_tokenizer(model, &tokenizer));
    check(gptoss_context_create(model, 0, 0, &context));

    append_message(context, tokenizer, "system", SYSTEM_MESSAGE);
    append_message(context, tokenizer, "user", arguments[2]);
    append_special_token(context, tokenizer, gptoss_special_token_start);
    append_text(context, "assistant");

    const uint32_t stop_tokens[] = {
        special_token(tokenizer, gptoss_special_token_return),
        special_token(tokenizer, gptoss_special_token_call),
    };
    struct gptoss_sampling_options options;
    gptoss_sampling_options_init(&options);
    options.temperature = 0.0f; /* the most likely token each time */
    options.num_stop_tokens = sizeof stop_tokens / sizeof stop_tokens[0];
    options.stop_tokens = stop_tokens;

    enum gptoss_finish_reason reason = gptoss_finish_reason_length;
    for (size_t i = 0; i < MAX_ANSWER_TOKENS && reason == gptoss_finish_reason_length; i++) {
        uint32_t token = 0;
        size_t num_tokens = 0;
        check(gptoss_context_sample_with_options(context, &options, 1, &token, NULL, &num_tokens, &reason));
        if (num_tokens == 1) {
            print_token(tokenizer, token);
        }
    }

    check(gptoss_context_release(context));
    check(gptoss_tokenizer_release(tokenizer));
    check(gptoss_model_release(model));
    return EXIT_SUCCESS;
}
