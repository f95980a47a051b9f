#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keyvault_backup_fuzz::app_answer(input));
