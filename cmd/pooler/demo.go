package main

func demo([]string) error { return nil }
