#include "engine/text/printable.h"

#include <gtest/gtest.h>

namespace lightcap::internal {
namespace {

using std::string_view_literals::operator""sv;

TEST(Printable, TextStaysAsItIs) {
  for (const std::string_view text : {""sv, "a red car"sv, "caf\u00e9 \u4e00\u4e8c \U0001f697"sv,
                                      "C:\\path"sv, "a\u00a0b"sv, "\ufffd"sv}) {
    EXPECT_EQ(printable(text), text);
  }
}

TEST(Printable, ControlCharactersAreEscaped) {
  EXPECT_EQ(printable("a\nb\r\tc"), "a\\nb\\r\\tc");
  EXPECT_EQ(printable("\x1b]0;title\x07\x7f\0"sv), "\\x1b]0;title\\x07\\x7f\\x00");
  EXPECT_EQ(printable("\u0080\u0085\u009b31m\u009f"), "\\u0080\\u0085\\u009b31m\\u009f");
}

TEST(Printable, WhatReordersOrBreaksALineIsEscaped) {
  EXPECT_EQ(printable("a\u2028b\u2029\u202ec\u2066"), "a\\u2028b\\u2029\\u202ec\\u2066");
}

TEST(Printable, BytesThatAreNotUtf8AreEscaped) {
  EXPECT_EQ(printable("a\xff\x9b z"), "a\\xff\\x9b z");
  EXPECT_EQ(printable("\xc0\x80\xed\xa0\x80"), "\\xc0\\x80\\xed\\xa0\\x80")
      << "overlong, surrogate";
  EXPECT_EQ(printable("caf\xc3"), "caf\\xc3") << "a character cut short";
}

TEST(Printable, ALongTextIsCutBetweenCharacters) {
  EXPECT_EQ(printable("abcdef", 6), "abcdef");
  EXPECT_EQ(printable("abcdef", 5), "abcde...");
  EXPECT_EQ(printable("ab\u00e9", 3), "ab...");
  EXPECT_EQ(printable("\n\n\n", 2), "\\n\\n...");
}

}  // namespace
}  // namespace lightcap::internal
