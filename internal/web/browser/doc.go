// Package browser tests the page of capd web with a real browser: as people use it, on captures that the test makes.
package browser
