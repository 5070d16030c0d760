(ns quorate.main
  "Judges histories from a shell: `jepsen/run-checkers HISTORY…`, or `--fixtures` for those that come with the checkers."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.string :as string]
            [quorate.checkers :as checkers]))

(defn read-history
  "A file with one operation after the other, or with one vector of them."
  [file]
  (with-open [reader (java.io.PushbackReader. (io/reader file))]
    (let [forms (doall (take-while #(not= ::end %) (repeatedly #(edn/read {:eof ::end} reader))))]
      (if (and (= 1 (count forms)) (vector? (first forms))) (first forms) (vec forms)))))

(defn- report [file]
  (let [history (read-history file)
        verdicts (checkers/judge history)
        lacking (checkers/vacuous history)]
    (println (str file ": " (count history) " operations"))
    (doseq [[name {:keys [valid? violations] :as verdict}] verdicts]
      (println (format "  %-13s %s%s" name (if valid? "valid" "INVALID")
                       (let [more (dissoc verdict :valid? :violations)] (if (seq more) (str " " more) ""))))
      (doseq [{:keys [invariant why]} (take 20 violations)] (println (str "    " invariant ": " why))))
    (doseq [lack lacking] (println (str "  cannot be judged: " lack)))
    (concat (checkers/violations verdicts) lacking)))

(defn- edn-files [dir] (sort (filter #(string/ends-with? % ".edn") (map str (.listFiles (io/file dir))))))

(defn- invariant-of
  "The invariant that a bad fixture names: 06-late.edn breaks 6, linearizability-x.edn breaks :linearizability."
  [file]
  (let [word (first (string/split (.getName (io/file file)) #"-"))]
    (if (re-matches #"\d+" word) (Long/parseLong word) (keyword word))))

(defn- fixture
  "nil, or what is wrong with the verdict on a fixture."
  [file expected]
  (let [found (set (map :invariant (checkers/violations (checkers/judge (read-history file)))))]
    (if (= found expected)
      (println (str "ok   " file ": " (if (seq expected) (str "breaks " (first expected)) "nothing broken")))
      (str "WRONG " file ": found " (vec found) ", expected " (vec expected)))))

(defn- fixtures [dir]
  (let [good (edn-files (str dir "/good"))
        bad (edn-files (str dir "/bad"))
        wrong (remove nil? (concat (map #(fixture % #{}) good) (map #(fixture % #{(invariant-of %)}) bad)))
        uncovered (remove (set (map invariant-of bad)) (map first checkers/all))]
    (run! println (doall wrong))
    (println (str (count good) " good and " (count bad) " bad fixtures, " (count wrong) " wrong"))
    (when (seq uncovered) (println (str "no bad fixture for " (vec uncovered))))
    (if (or (seq wrong) (seq uncovered) (empty? good)) 1 0)))

(defn -main [& args]
  (let [exit (try
               (cond
                 (empty? args) (do (println "usage: run-checkers HISTORY…\n       run-checkers --fixtures DIR") 2)
                 (= "--fixtures" (first args)) (fixtures (second args))
                 :else (let [found (vec (mapcat report args))]
                         (println (pr-str {:violations (count found)
                                           :invariants (vec (sort-by str (distinct (keep :invariant found))))}))
                         (if (seq found) 1 0)))
               (catch java.io.FileNotFoundException error
                 (println (.getMessage error))
                 2))]
    (flush)
    (System/exit exit)))
