(ns quorate.lint
  "What can be checked of the Jepsen project without Jepsen: every file reads; every alias is required and used; what is named
  through an alias exists and is called with as many arguments as it takes. Jepsen's own names and arities are in
  test/jepsen-0.3.11.edn, taken from its sources; nothing of Jepsen is imitated."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.string :as string]
            [clojure.walk :as walk]))

(defn- clojure-files [dir]
  (sort (filter #(string/ends-with? % ".clj") (map str (file-seq (io/file dir))))))

(defn- read-all [file]
  (with-open [reader (java.io.PushbackReader. (io/reader file))]
    (binding [*read-eval* false]
      (doall (take-while #(not= ::end %) (repeatedly #(read {:eof ::end :read-cond :allow} reader)))))))

(defn- ns-form [forms] (first (filter #(and (seq? %) (= 'ns (first %))) forms)))

(defn- requires
  "By alias (or whole name): the namespace. What is referred to by name only needs no alias."
  [form]
  (into {'clojure.core 'clojure.core}
        (for [clause (rest form) :when (and (seq? clause) (= :require (first clause)))
              spec (rest clause)
              :let [[name & {:keys [as refer]}] (if (vector? spec) spec [spec])]
              :when (or as (not refer))]
          [(or as name) name])))

(defn- arities
  "The numbers of arguments of a defn: {:exact #{…} :at-least n}."
  [[_ _ & more]]
  (let [more (drop-while #(or (string? %) (map? %)) more)
        vectors (if (vector? (first more)) [(first more)] (map first (filter seq? more)))
        of (fn [args] (let [fixed (count (take-while #(not= '& %) args))]
                        (if (some #{'&} args) {:at-least fixed} {:exact #{fixed}})))]
    (reduce (fn [a b] {:exact (into (:exact a #{}) (:exact b)) :at-least (or (:at-least a) (:at-least b))}) {} (map of vectors))))

(defn- definitions [forms]
  (into {} (mapcat (fn [form]
                     (when (seq? form)
                       (let [[what name] form]
                         (case what
                           (defn defn-) [[name (arities form)]]
                           (def defmulti) [[name :any]]
                           defrecord (let [n (count (nth form 2))]
                                       [[(symbol (str "->" name)) {:exact #{n}}] [(symbol (str "map->" name)) {:exact #{1}}]])
                           defprotocol (map (fn [[method & signatures]]
                                              [method {:exact (set (map count (filter vector? signatures)))}])
                                            (filter seq? (drop 2 form)))
                           nil))))
                   forms)))

(defn- fits? [arity n]
  (or (= :any arity) (contains? (:exact arity) n) (and (:at-least arity) (>= n (:at-least arity)))))

(defn- threaded
  "Calls inside -> and ->> get one argument more."
  [form]
  (walk/prewalk (fn [form]
                  (if (and (seq? form) (#{'-> '->> 'some-> 'some->> 'cond->} (first form)))
                    (let [[head start & steps] form]
                      (list* head start (map #(if (seq? %) (concat % [::threaded]) %) steps)))
                    form))
                form))

(defn- calls [form] (filter #(and (seq? %) (symbol? (first %)) (namespace (first %))) (tree-seq coll? seq form)))
(defn- qualified [form] (filter #(and (symbol? %) (namespace %)) (tree-seq coll? seq form)))

(defn- known-elsewhere
  "The arities of a namespace of the JDK's clojure, loaded; nil where it is not here."
  [name]
  (try (require name)
       (into {} (for [[symbol var] (ns-publics name)
                      :let [lists (:arglists (meta var))]]
                  [symbol (if lists (arities (list* nil nil (map list lists))) :any)]))
       (catch java.io.FileNotFoundException _ nil)))

(defn- problems [file forms own jepsen]
  (let [required (requires (ns-form forms))
        body (map threaded (remove #(= (ns-form forms) %) forms))
        used (set (map (comp symbol namespace) (qualified body)))
        java? #(re-find #"[A-Z]" (str %))
        table (fn [name] (or (get own name) (get jepsen name) (known-elsewhere name)))]
    (concat
     (for [alias used :when (and (not (java? alias)) (not (contains? required alias)) (not (get own alias)))]
       (str file ": nothing is required as " alias))
     (for [[alias name] required :when (and (not= 'clojure.core name) (not (contains? used alias)) (not (string/starts-with? (str name) "clojure.tools")))]
       (str file ": " name " is required and not used"))
     (for [symbol (distinct (qualified body))
           :let [name (get required (clojure.core/symbol (namespace symbol)))
                 vars (when name (table name))]
           :when (and vars (not (contains? vars (clojure.core/symbol (clojure.core/name symbol)))))]
       (str file ": " name " has no " (clojure.core/name symbol)))
     (for [call (mapcat calls body)
           :let [[head & arguments] call
                 vars (some-> (get required (symbol (namespace head))) table)
                 arity (get vars (symbol (name head)))]
           :when (and arity (not (fits? arity (count arguments))) (not= 'fn (first arguments)))]
       (str file ": " head " takes " (pr-str arity) ", and is called with " (count arguments)))
     ;; Its own functions too.
     (let [mine (definitions forms)]
       (for [form body node (tree-seq coll? seq form)
             :when (and (seq? node) (symbol? (first node)))
             :let [arity (get mine (first node))]
             :when (and arity (not= node form) (not (fits? arity (count (rest node)))))]
         (str file ": " (first node) " takes " (pr-str arity) ", and is called with " (count (rest node))))))))

(defn -main [dir jepsen-names & _]
  (let [files (clojure-files dir)
        read (into {} (map (juxt identity read-all)) files)
        own (into {} (for [[_ forms] read] [(second (ns-form forms)) (definitions forms)]))
        jepsen (edn/read-string (slurp jepsen-names))
        found (distinct (mapcat (fn [[file forms]] (problems file forms own jepsen)) (sort read)))]
    (run! println found)
    (println (str (count files) " files were read, " (count found) " problems"))
    (flush)
    (System/exit (if (or (seq found) (empty? files)) 1 0))))
